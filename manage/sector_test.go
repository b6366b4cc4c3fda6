package manage

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/oauth2"
)

func TestASectorSaysWhoBelongsToIt(t *testing.T) {
	asked := map[string]int{}
	sector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked[r.URL.Path]++
		switch r.URL.Path {
		case "/list":
			fmt.Fprint(w, `["https://a.example/cb", "https://b.example/cb"]`)
		case "/object":
			fmt.Fprint(w, `{"redirect_uris": ["https://a.example/cb"]}`)
		case "/elsewhere":
			http.Redirect(w, r, "/list", http.StatusFound)
		case "/long":
			_, _ = w.Write(append([]byte(`["https://a.example/cb"`), make([]byte, maxSector)...))
		default:
			http.NotFound(w, r)
		}
	}))
	defer sector.Close()
	refuses := &http.Client{Transport: refusing{}}
	s := &Sectors{Operators: sector.Client(), Strangers: refuses}
	member := oauth2.Client{ID: "a", RedirectURIs: []string{"https://a.example/cb"}, SectorIdentifierURI: sector.URL + "/list"}
	at := func(path string) oauth2.Client {
		c := member
		c.SectorIdentifierURI = sector.URL + path
		return c
	}
	joining := member
	joining.RedirectURIs = []string{"https://b.example/cb", "https://c.example/cb"}
	strange := member
	strange.Origin = oauth2.ByRegistration
	for name, c := range map[string]struct {
		client, old oauth2.Client
		sectors     *Sectors
		want        string
	}{
		"a member":                             {client: member, sectors: s},
		"no sector":                            {client: oauth2.Client{RedirectURIs: []string{"https://a.example/cb"}}},
		"who is not in the list":               {client: joining, sectors: s, want: "invalid_redirect_uri /redirect_uris/1"},
		"a member of before with others":       {client: joining, old: member, sectors: s, want: "invalid_redirect_uri /redirect_uris/1"},
		"a list that is none":                  {client: at("/object"), sectors: s, want: "invalid_client_metadata /sector_identifier_uri"},
		"a list elsewhere":                     {client: at("/elsewhere"), sectors: s, want: "invalid_client_metadata /sector_identifier_uri"},
		"a list without end":                   {client: at("/long"), sectors: s, want: "invalid_client_metadata /sector_identifier_uri"},
		"no list":                              {client: at("/none"), sectors: s, want: "invalid_client_metadata /sector_identifier_uri"},
		"a stranger's at a private address":    {client: strange, sectors: s, want: "invalid_client_metadata /sector_identifier_uri"},
		"nobody to ask":                        {client: member, want: "invalid_client_metadata /sector_identifier_uri"},
		"nothing changed and the list is away": {client: at("/away"), old: at("/away")},
	} {
		got, err := "", c.sectors.check(context.Background(), c.client, c.old)
		var f *fault.Error
		if errors.As(err, &f) {
			got = f.Reason + " " + f.Pointer
		} else if err != nil {
			t.Fatal(err)
		}
		if got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
	if diff := cmp.Diff(map[string]int{"/list": 3, "/object": 1, "/elsewhere": 1, "/long": 1, "/none": 1}, asked); diff != "" {
		t.Errorf("asked (-want +got)\n%s", diff)
	}
}

// refusing reaches nobody.
type refusing struct{}

func (refusing) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, errors.New("not a public address")
}
