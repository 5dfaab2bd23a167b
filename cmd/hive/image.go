package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"hive/internal/admin"
	"hive/internal/awscall"
)

func imageCommand() *cli.Command {
	return &cli.Command{
		Name: "image", Category: categoryMachine, Usage: "machine images: import a disk file, list",
		Subcommands: []*cli.Command{imageImportCommand(), imageListCommand()},
	}
}

// imageTarget is where the images are: a cluster that the AWS environment names, or this machine's node.
type imageTarget struct{ dir, endpoint string }

func (t *imageTarget) flags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "endpoint-url", Usage: "`URL` of the AWS API (default: AWS_ENDPOINT_URL)", Destination: &t.endpoint}, dirFlag(&t.dir),
	}
}

const imageTargetHelp = `
Without keys in the environment (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE), or with
--hive-dir, it speaks to the daemon of this machine's node, as the root user; else to AWS_ENDPOINT_URL.
`

// imageClient speaks to the target, and adds to its errors which daemon does not answer.
type imageClient struct {
	*awscall.Client
	explain func(error) error
}

func (t *imageTarget) client(c *cli.Context) (imageClient, error) {
	home, err := os.UserHomeDir()
	if err != nil {
		home = "" // then there is no shared file to read
	}
	cfg, err := awscall.FromEnvironment(os.Getenv, home)
	switch {
	case c.IsSet("hive-dir") && t.endpoint != "":
		return imageClient{}, usagef("--hive-dir is the node of this machine, --endpoint-url any: give one or the other")
	case c.IsSet("hive-dir") || errors.Is(err, awscall.ErrNoKeys) && t.endpoint == "":
		return t.local()
	case err != nil:
		return imageClient{}, err
	}
	if cfg.Endpoint = cmp.Or(t.endpoint, cfg.Endpoint); cfg.Endpoint == "" {
		return imageClient{}, usagef("there are AWS keys, but no endpoint: set AWS_ENDPOINT_URL, or give --endpoint-url or --hive-dir")
	}
	if cfg.Region == "" {
		return imageClient{}, usagef("the region is not known: set AWS_REGION")
	}
	client, err := awscall.New(cfg, time.Now)
	return imageClient{client, func(err error) error { return err }}, err
}

func (t *imageTarget) local() (imageClient, error) {
	d, err := daemonOf(t.dir)
	if err != nil {
		return imageClient{}, err
	}
	client, err := awscall.New(awscall.Config{Socket: filepath.Join(d.dir, admin.Socket)}, time.Now)
	return imageClient{client, func(err error) error {
		if errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ECONNREFUSED) {
			err = admin.ErrNotRunning
		}
		return d.explain(err)
	}}, err
}

const ec2Version = "2016-11-15"

func (i imageClient) ec2(ctx context.Context, action string, params url.Values, out any) error {
	return i.explain(i.Query(ctx, "ec2", ec2Version, action, params, out))
}

// listedImage is a row of `hive image list`.
type listedImage struct {
	ID       string `json:"image_id" xml:"imageId"`
	Name     string `json:"name" xml:"name"`
	State    string `json:"state" xml:"imageState"`
	Arch     string `json:"architecture" xml:"architecture"`
	BootMode string `json:"boot_mode" xml:"bootMode"`
	Public   bool   `json:"public" xml:"isPublic"`
	Owner    string `json:"owner" xml:"imageOwnerId"`
	Created  string `json:"created" xml:"creationDate"`
	Root     string `json:"-" xml:"rootDeviceName"`
	Size     int    `json:"size_gib" xml:"-"`
	Snapshot string `json:"snapshot_id" xml:"-"`
	Devices  []struct {
		Name     string `xml:"deviceName"`
		Snapshot string `xml:"ebs>snapshotId"`
		Size     int    `xml:"ebs>volumeSize"`
	} `json:"-" xml:"blockDeviceMapping>item"`
}

// images asks for the images that fit; params filter them.
func (i imageClient) images(ctx context.Context, params url.Values) ([]listedImage, error) {
	all := []listedImage{}
	for params = cloneParams(params); ; {
		var page struct {
			Images []listedImage `xml:"imagesSet>item"`
			Next   string        `xml:"nextToken"`
		}
		if err := i.ec2(ctx, "DescribeImages", params, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Images...)
		if page.Next == "" {
			break
		}
		params.Set("NextToken", page.Next)
	}
	for n := range all {
		for _, d := range all[n].Devices {
			if d.Name == all[n].Root {
				all[n].Size, all[n].Snapshot = d.Size, d.Snapshot
			}
		}
	}
	slices.SortStableFunc(all, func(a, b listedImage) int { return cmp.Compare(a.Name, b.Name) })
	return all, nil
}

func cloneParams(params url.Values) url.Values {
	out := url.Values{"MaxResults": {"500"}}
	for name, values := range params {
		out[name] = values
	}
	return out
}

func imageListCommand() *cli.Command {
	var t imageTarget
	return &cli.Command{
		Name: "list", Usage: "list the images that you may launch",
		Description: imageTargetHelp + `
Examples:
  hive image list
  hive image list --output json`,
		Flags: t.flags(),
		Action: func(c *cli.Context) error {
			if err := arguments(c, 0, 0); err != nil {
				return err
			}
			client, err := t.client(c)
			if err != nil {
				return err
			}
			list, err := client.images(c.Context, nil)
			if err != nil {
				return err
			}
			return outputOf(c).answer(list, func(w io.Writer) {
				row(w, "IMAGE", "NAME", "STATE", "ARCHITECTURE", "BOOT MODE", "SIZE", "PUBLIC", "CREATED")
				for _, x := range list {
					row(w, x.ID, x.Name, x.State, x.Arch, orDash(x.BootMode), fmt.Sprintf("%d GiB", x.Size), x.Public, x.Created)
				}
			})
		},
	}
}
