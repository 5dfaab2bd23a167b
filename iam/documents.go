package iam

import (
	"sync"

	"hive/iam/policy"
)

// documents keeps parsed policies by their kind and text. A text always parses to the same document, so there is
// nothing to go stale. It holds at most two generations: what was not asked for during one is dropped.
type documents struct {
	mu         sync.Mutex // guards both maps
	young, old map[documentKey]*policy.Document
}

type documentKey struct {
	kind policy.Kind
	text string
}

// generation is how many documents are kept before the older ones go.
const generation = 512

func (d *documents) parse(text string, kind policy.Kind) (*policy.Document, error) {
	key := documentKey{kind, text}
	d.mu.Lock()
	doc, young := d.young[key]
	if !young {
		doc = d.old[key]
	}
	d.mu.Unlock()
	if young {
		return doc, nil
	}
	if doc == nil {
		var err error
		if doc, err = policy.Parse([]byte(text), kind); err != nil {
			return nil, err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.young) >= generation || d.young == nil {
		d.young, d.old = make(map[documentKey]*policy.Document, generation), d.young
	}
	d.young[key] = doc
	return doc, nil
}
