package main

import (
	"fmt"
	"io"

	"github.com/urfave/cli/v2"
)

// Scripts that ask this binary for completions, as urfave/cli answers them to --generate-bash-completion.
const (
	bashCompletion = `_hive_complete() {
  local cur=${COMP_WORDS[COMP_CWORD]} words=("${COMP_WORDS[@]:0:COMP_CWORD}")
  [[ $cur == -* ]] && words+=("$cur")
  COMPREPLY=($(compgen -W "$("${words[@]}" --generate-bash-completion 2>/dev/null)" -- "$cur"))
}
complete -o bashdefault -o default -F _hive_complete hive
`
	zshCompletion = `#compdef hive
_hive() {
  local -a opts asked
  asked=("${(@)words[1,CURRENT-1]}")
  [[ ${words[CURRENT]} == -* ]] && asked+=("${words[CURRENT]}")
  opts=("${(@f)$("${asked[@]}" --generate-bash-completion 2>/dev/null)}")
  if [[ -n ${opts[1]} ]]; then compadd -a opts; else _files; fi
}
compdef _hive hive
`
	fishCompletion = `function __hive_complete
  set -l asked (commandline -opc)
  set -l cur (commandline -ct)
  string match -q -- '-*' $cur; and set -a asked $cur
  $asked --generate-bash-completion 2>/dev/null
end
complete -c hive -a '(__hive_complete)'
`
)

func completionCommand() *cli.Command {
	return &cli.Command{
		Name: "completion", Category: categoryOther, Usage: "print the script that completes hive's commands in a shell", ArgsUsage: "bash|zsh|fish",
		Description: `Examples:
  eval "$(hive completion bash)"
  hive completion bash > /etc/bash_completion.d/hive
  hive completion fish > ~/.config/fish/completions/hive.fish`,
		Action: runCompletion,
	}
}

func runCompletion(c *cli.Context) error {
	if err := arguments(c, 1, 1); err != nil {
		return err
	}
	shell := c.Args().First()
	script, ok := map[string]string{"bash": bashCompletion, "zsh": zshCompletion, "fish": fishCompletion}[shell]
	if !ok {
		return usagef("no completion for the shell %q: give bash, zsh or fish", shell)
	}
	return outputOf(c).answer(map[string]string{"shell": shell, "script": script}, func(w io.Writer) { fmt.Fprint(w, script) })
}
