package login

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/text/language"
)

//go:embed messages/*.json
var builtInMessages embed.FS

// texts are the messages of one language.
type texts struct {
	tag      string
	messages map[string]string
	fallback *texts // English; nil for English itself
}

// catalog is all languages. The first one, English, is for everybody else.
type catalog struct {
	all     []*texts
	matcher language.Matcher
}

// scopePrefix begins the keys that describe scopes, of which there may be any.
const scopePrefix = "scope."

// loadMessages reads the built-in languages and those of a folder, which may be empty.
func loadMessages(folder string) (*catalog, error) {
	byTag := map[string]map[string]string{}
	inside, err := fs.Sub(builtInMessages, "messages")
	if err != nil {
		return nil, err
	}
	if err := readMessages(inside, "", byTag); err != nil {
		return nil, err
	}
	known := maps.Clone(byTag["en"])
	if folder != "" {
		if err := readMessages(os.DirFS(folder), folder, byTag); err != nil {
			return nil, err
		}
	}
	c := &catalog{}
	english := &texts{tag: "en", messages: byTag["en"]}
	tags := []language.Tag{language.English}
	c.all = append(c.all, english)
	for _, tag := range slices.Sorted(maps.Keys(byTag)) {
		for key := range byTag[tag] {
			if known[key] == "" && !strings.HasPrefix(key, scopePrefix) {
				return nil, fmt.Errorf("%s: unknown key %q", filepath.Join(folder, tag+".json"), key)
			}
		}
		if tag != "en" {
			tags = append(tags, language.Make(tag))
			c.all = append(c.all, &texts{tag: tag, messages: byTag[tag], fallback: english})
		}
	}
	c.matcher = language.NewMatcher(tags)
	return c, nil
}

// readMessages adds every file of a folder; later ones win key by key.
func readMessages(folder fs.FS, name string, into map[string]map[string]string) error {
	files, err := fs.Glob(folder, "*.json")
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return fmt.Errorf("%s: holds no file such as fr.json", name)
	}
	for _, file := range files {
		tag, err := language.Parse(strings.TrimSuffix(file, ".json"))
		if err != nil {
			return fmt.Errorf("%s: the name is not a language (RFC 5646): %w", filepath.Join(name, file), err)
		}
		data, err := fs.ReadFile(folder, file)
		if err != nil {
			return err
		}
		messages := map[string]string{}
		if err := json.NewDecoder(bytes.NewReader(data)).Decode(&messages); err != nil {
			return fmt.Errorf("%s: must be one object of texts: %w", filepath.Join(name, file), err)
		}
		if into[tag.String()] == nil {
			into[tag.String()] = map[string]string{}
		}
		maps.Copy(into[tag.String()], messages)
	}
	return nil
}

// maxLocales bounds what is looked at of what a browser or client prefers, in bytes.
const maxLocales = 256

// choose returns the best language for ui_locales (OpenID Connect Core section
// 3.1.2.1), then for an Accept-Language field.
func (c *catalog) choose(locales, accept string) *texts {
	var wanted []language.Tag
	for _, l := range strings.Fields(locales[:min(len(locales), maxLocales)]) {
		if tag, err := language.Parse(l); err == nil {
			wanted = append(wanted, tag)
		}
	}
	if len(accept) <= maxLocales {
		tags, _, _ := language.ParseAcceptLanguage(accept) // what cannot be read is no wish
		wanted = append(wanted, tags...)
	}
	if len(wanted) == 0 {
		return c.all[0]
	}
	_, i, confidence := c.matcher.Match(wanted...)
	if confidence == language.No {
		return c.all[0]
	}
	return c.all[i]
}

// text returns a message with its placeholders filled in.
func (t *texts) text(key string, pairs ...string) string {
	message, found := t.messages[key]
	if !found {
		if t.fallback == nil {
			return key
		}
		return t.fallback.text(key, pairs...)
	}
	var replace []string
	for i := 0; i+1 < len(pairs); i += 2 {
		replace = append(replace, "{"+pairs[i]+"}", pairs[i+1])
	}
	return strings.NewReplacer(replace...).Replace(message)
}

func (t *texts) scope(name string) string {
	for ; t != nil; t = t.fallback {
		if message, found := t.messages[scopePrefix+name]; found {
			return message
		}
	}
	return name
}
