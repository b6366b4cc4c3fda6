package app

import (
	"strings"
	"testing"
)

func TestPrivateKeysComeFromRegularFilesAlone(t *testing.T) {
	var r rings
	for location, want := range map[string]string{
		"https://keys.example/set": "must be a file URL",
		"file:///dev/zero":         "/dev/zero is not a regular file", // reading it would never end
		"file:///no/such/file":     "no such file",
	} {
		if s, err := r.load(location); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, %v", location, s, err)
		}
	}
}
