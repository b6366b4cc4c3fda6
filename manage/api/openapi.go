package api

import (
	_ "embed"
	"encoding/json"
	"fmt"

	"go.yaml.in/yaml/v3"
)

//go:embed openapi.yaml
var openAPI []byte

// document is the description of the API in both forms.
type document struct{ yaml, json []byte }

func loadDocument() document {
	var tree any
	err := yaml.Unmarshal(openAPI, &tree)
	text, merr := json.Marshal(tree)
	if err != nil || merr != nil {
		panic(fmt.Sprintf("openapi.yaml: %v %v", err, merr))
	}
	return document{yaml: openAPI, json: text}
}
