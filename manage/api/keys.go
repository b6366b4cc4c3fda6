package api

import (
	"encoding/json"
	"net/http"
	"net/url"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/manage"
)

// gatewaySet is the reserved name under which early Oathkeeper served the public
// key of its ID tokens.
const gatewaySet = "id-token.public"

func (a *API) keyRoutes() {
	if a.GatewayKeys != nil && a.Keys == nil {
		a.route(hydra, "/keys/"+gatewaySet, methods{http.MethodGet: keysTo("get", gatewaySet).to(a.gatewayKey, "get")})
	}
	if a.Keys == nil {
		return
	}
	a.route(hydra, "/keys/{set}", methods{
		http.MethodGet: keysTo("get", "{set}").to(a.getKeys, "get"), http.MethodPost: keysTo("create", "{set}").to(a.createKey, "create"),
		http.MethodPut: keysTo("update", "{set}").to(a.replaceKeys, "update"), http.MethodDelete: keysTo("delete", "{set}").to(a.deleteKeys, "delete"),
	})
	a.route(hydra, "/keys/{set}/schedule", methods{http.MethodGet: keysTo("get", "{set}").to(a.keySchedule, "get")})
	a.route(hydra, "/keys/{set}/rotate", methods{http.MethodPost: keysTo("create", "{set}").to(a.rotateKeys, "create")})
	a.route(hydra, "/keys/{set}/{kid}", methods{
		http.MethodGet: keysTo("get", "{set}:{kid}").to(a.getKey, "get"), http.MethodPut: keysTo("update", "{set}:{kid}").to(a.putKey, "update"),
		http.MethodDelete: keysTo("delete", "{set}:{kid}").to(a.deleteKey, "delete"),
	})
}

// keysTo names keys; a scope is for one action, as in early Hydra.
func keysTo(action, name string) object {
	return object{scope: "hydra.keys." + action, resource: "keys:" + name}
}

// gatewayKey answers with the key that signs as Oathkeeper 0.0.20 did, and with
// all of them in the member keys, so that rotation works for who looks there.
func (a *API) gatewayKey(x *exchange) error {
	set, err := a.GatewayKeys(x.r.Context())
	if err != nil {
		return err
	}
	if len(set.Keys) == 0 {
		return fault.New(fault.NotFound, "unknown_key_set", "the gateway has no key for ID tokens")
	}
	first, err := set.Keys[0].MarshalJSON()
	if err != nil {
		return err
	}
	answer := map[string]any{}
	if err := json.Unmarshal(first, &answer); err != nil {
		return err
	}
	answer["keys"] = set.Keys
	return x.json(http.StatusOK, answer)
}

// set returns the name of the key set; the reserved one is read-only.
func (x *exchange) set() (string, error) {
	set, err := x.id("set")
	if err == nil && set == gatewaySet {
		err = fault.New(fault.Forbidden, "reserved_key_set", "the set "+gatewaySet+" stands for the gateway's own public keys")
	}
	return set, err
}

func (a *API) getKeys(x *exchange) error {
	if set, _ := x.id("set"); set == gatewaySet && a.GatewayKeys != nil {
		return a.gatewayKey(x)
	}
	set, err := x.set()
	if err != nil {
		return err
	}
	keys, err := a.Keys.Set(x.r.Context(), set)
	if err != nil {
		return err
	}
	return x.json(http.StatusOK, keys)
}

func (a *API) createKey(x *exchange) error {
	set, err := x.set()
	if err != nil {
		return err
	}
	var n manage.NewKey
	if err := x.decode(&n); err != nil {
		return err
	}
	keys, err := a.Keys.Generate(x.r.Context(), set, n)
	if err != nil {
		return err
	}
	id := n.ID
	if len(keys.Keys) > 0 { // a symmetric key of the program's own is not shown
		id = keys.Keys[0].KeyID
	}
	return x.created("/keys/"+url.PathEscape(set), id, keys)
}

func (a *API) replaceKeys(x *exchange) error {
	set, err := x.set()
	if err != nil {
		return err
	}
	var body struct {
		Keys []json.RawMessage `json:"keys"`
		Set  string            `json:"set"` // the command line prints it
	}
	if err := x.decode(&body); err != nil {
		return err
	}
	keys, err := manage.ParseKeys(x.body)
	if err != nil {
		return err
	}
	if err := a.Keys.Replace(x.r.Context(), set, keys); err != nil {
		return err
	}
	return x.json(http.StatusOK, keys)
}

func (a *API) deleteKeys(x *exchange) error {
	set, err := x.set()
	if err != nil {
		return err
	}
	if err := a.Keys.DeleteSet(x.r.Context(), set); err != nil {
		return err
	}
	return x.none()
}

func (a *API) getKey(x *exchange) error {
	set, err := x.set()
	if err != nil {
		return err
	}
	kid, err := x.id("kid")
	if err != nil {
		return err
	}
	keys, err := a.Keys.Key(x.r.Context(), set, kid)
	if err != nil {
		return err
	}
	return x.json(http.StatusOK, keys)
}

func (a *API) putKey(x *exchange) error {
	set, err := x.set()
	if err != nil {
		return err
	}
	kid, err := x.id("kid")
	if err != nil {
		return err
	}
	var body map[string]any // a JWK may have members of its own (RFC 7517 section 4)
	if err := x.decode(&body); err != nil {
		return err
	}
	key, err := manage.ParseKey(x.body)
	if err != nil {
		return err
	}
	if err := sameID(kid, &key.KeyID, "/kid"); err != nil {
		return err
	}
	if err := a.Keys.Put(x.r.Context(), set, key); err != nil {
		return err
	}
	return x.json(http.StatusOK, key)
}

// keySchedule answers what the keys of a set are for, without their material.
func (a *API) keySchedule(x *exchange) error {
	set, err := x.set()
	if err != nil {
		return err
	}
	schedule, err := a.Keys.Schedule(x.r.Context(), set)
	if err != nil {
		return err
	}
	return x.json(http.StatusOK, schedule)
}

// rotateKeys gives the keys of a set successors.
func (a *API) rotateKeys(x *exchange) error {
	set, err := x.set()
	if err != nil {
		return err
	}
	schedule, err := a.Keys.Rotate(x.r.Context(), set)
	if err != nil {
		return err
	}
	return x.json(http.StatusOK, schedule)
}

func (a *API) deleteKey(x *exchange) error {
	set, err := x.set()
	if err != nil {
		return err
	}
	kid, err := x.id("kid")
	if err != nil {
		return err
	}
	if err := a.Keys.Delete(x.r.Context(), set, kid); err != nil {
		return err
	}
	return x.none()
}
