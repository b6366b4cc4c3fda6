package api

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"

	"go.yaml.in/yaml/v3"
)

//go:embed openapi.yaml
var openAPI []byte

// document is the description of the API in both forms.
type document struct{ yaml, json []byte }

// Document returns the description as /openapi.json serves it.
func Document() []byte { return loadDocument().json }

// loadDocument makes the JSON form, in which paths marked with x-admin are written
// out a second time below /admin.
func loadDocument() document {
	var tree map[string]any
	if err := yaml.Unmarshal(openAPI, &tree); err != nil {
		panic(fmt.Sprintf("openapi.yaml: %v", err))
	}
	paths, _ := tree["paths"].(map[string]any)
	for path, item := range maps.Clone(paths) {
		methods, _ := item.(map[string]any)
		if methods["x-admin"] != true {
			continue
		}
		delete(methods, "x-admin")
		copied := maps.Clone(methods)
		delete(copied, "x-listeners") // the public listener has no /admin
		for name, operation := range copied {
			if o, ok := operation.(map[string]any); ok {
				o = maps.Clone(o)
				o["operationId"] = fmt.Sprintf("admin_%v", o["operationId"])
				copied[name] = o
			}
		}
		paths["/admin"+path] = copied
	}
	text, err := json.Marshal(tree)
	if err != nil {
		panic(fmt.Sprintf("openapi.yaml: %v", err))
	}
	return document{yaml: openAPI, json: text}
}
