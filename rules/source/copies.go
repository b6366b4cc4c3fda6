package source

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// copies keeps what one remote repository held, in a file of its own. The zero
// copies keeps nothing.
type copies struct {
	path string
	last [sha256.Size]byte // of what the file holds, as far as it was written here
}

// copiesIn returns the copies of the repository text in the folder dir. The name of
// the file is a hash: text may hold secrets.
func copiesIn(dir, text string) copies {
	if dir == "" {
		return copies{}
	}
	sum := sha256.Sum256([]byte(text))
	return copies{path: filepath.Join(dir, "rules-"+hex.EncodeToString(sum[:16])+".json")}
}

// copied is the content of the file. Sum makes a torn or edited file no copy.
type copied struct {
	Sum   string       `json:"sha256"`
	Units []copiedUnit `json:"units"`
}

type copiedUnit struct {
	Name string `json:"name"`
	Data []byte `json:"data"`
}

func sumOf(units []copiedUnit) [sha256.Size]byte {
	text, err := json.Marshal(units)
	if err != nil {
		return [sha256.Size]byte{} // strings and bytes always encode
	}
	return sha256.Sum256(text)
}

// save replaces the copy in one step.
func (c *copies) save(units []unit) error {
	if c.path == "" {
		return nil
	}
	list := make([]copiedUnit, len(units))
	for i, u := range units {
		list[i] = copiedUnit{u.name, u.data}
	}
	sum := sumOf(list)
	if sum == c.last {
		return nil
	}
	text, err := json.Marshal(copied{hex.EncodeToString(sum[:]), list})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(c.path), 0o700); err != nil {
		return err
	}
	if err := replaceFile(c.path, text); err != nil {
		return err
	}
	c.last = sum
	return nil
}

// replaceFile writes data to a new file and moves it to path.
func replaceFile(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".tmp-*") // readable by this user only
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// load returns what was saved last, nil when there is no copy.
func (c *copies) load() ([]unit, error) {
	if c.path == "" {
		return nil, nil
	}
	text, err := os.ReadFile(c.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, plain(err)
	}
	var saved copied
	if err := json.Unmarshal(text, &saved); err != nil {
		return nil, fmt.Errorf("it is damaged: %w", err)
	}
	sum := sumOf(saved.Units)
	if saved.Sum != hex.EncodeToString(sum[:]) {
		return nil, errors.New("it is damaged: its checksum is another")
	}
	c.last = sum
	units := make([]unit, 0, len(saved.Units))
	for _, u := range saved.Units {
		units = append(units, unit{name: u.Name, data: u.Data})
	}
	return units, nil
}
