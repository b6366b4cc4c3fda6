package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/sideband"
	"github.com/go-git/go-git/v5/plumbing/storer"
	"github.com/go-git/go-git/v5/plumbing/transport"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"
	"github.com/go-git/go-git/v5/storage/filesystem"
)

// gitRepository is a folder, or a file, of one branch of a git repository:
// git+https://HOST/REPO.git?ref=BRANCH&path=FOLDER, the same with git+ssh, or
// git+file with the path of a local repository. Only the newest commit is fetched,
// into memory.
type gitRepository struct {
	name string
	ref  plumbing.ReferenceName
	path string // in the repository, empty: all of it
	// local is the folder of a local repository, else session opens a remote one.
	local   string
	session func(ctx context.Context) (packSession, error)

	commit plumbing.Hash // of last
	last   []unit
}

// packSession is a conversation with git-upload-pack.
type packSession interface {
	AdvertisedReferencesContext(context.Context) (*packp.AdvRefs, error)
	UploadPack(context.Context, *packp.UploadPackRequest) (*packp.UploadPackResponse, error)
	Close() error
}

func openGit(text string, client *http.Client, dial dialer) (*gitRepository, error) {
	name := redact(text)
	u, err := url.Parse(strings.TrimPrefix(text, "git+"))
	if err != nil || u.Path == "" || (u.Host == "" && u.Scheme != "file") {
		return nil, fmt.Errorf("%s: must name a git repository", name)
	}
	q := u.Query()
	for key := range q {
		if !slices.Contains([]string{"ref", "path", "ssh_key", "known_hosts"}, key) {
			return nil, fmt.Errorf("%s: unknown option %s; known are ref, path, ssh_key and known_hosts", name, key)
		}
	}
	ref := q.Get("ref")
	if ref == "" {
		return nil, fmt.Errorf("%s: ?ref= must name the branch", name)
	}
	g := &gitRepository{name: name, path: strings.Trim(path.Clean("/"+q.Get("path")), "/"), ref: plumbing.ReferenceName(ref)}
	if !strings.HasPrefix(ref, "refs/") {
		g.ref = plumbing.NewBranchReferenceName(ref)
	}
	if err := g.ref.Validate(); err != nil {
		return nil, fmt.Errorf("%s: ref: %w", name, err)
	}
	g.name += "?ref=" + ref
	if g.path != "" {
		g.name += "&path=" + g.path
	}
	u.RawQuery = ""
	switch u.Scheme {
	case "file":
		g.local = u.Path
	case "ssh":
		g.session, err = openSSH(u, q.Get("ssh_key"), q.Get("known_hosts"), dial)
	default:
		g.session, err = openSmartHTTP(u, client)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return g, nil
}

// openSmartHTTP returns how to talk to a server over git's smart HTTP protocol.
func openSmartHTTP(u *url.URL, client *http.Client) (func(context.Context) (packSession, error), error) {
	if client == nil {
		return nil, errors.New("remote repositories need an HTTP client")
	}
	var auth transport.AuthMethod
	if u.User != nil {
		password, _ := u.User.Password()
		auth = &githttp.BasicAuth{Username: u.User.Username(), Password: password}
	}
	bare := *u
	bare.User = nil
	endpoint, err := transport.NewEndpoint(bare.String())
	if err != nil {
		return nil, errors.New("is not a URL that git knows")
	}
	own := *client
	own.Timeout = fetchTimeout
	own.CheckRedirect = stayEncrypted
	protocol := githttp.NewClient(&own)
	return func(context.Context) (packSession, error) { return protocol.NewUploadPackSession(endpoint, auth) }, nil
}

func (g *gitRepository) title() string { return g.name }

func (g *gitRepository) revision() string {
	if g.commit.IsZero() {
		return ""
	}
	return g.commit.String()
}

func (g *gitRepository) read(ctx context.Context) ([]unit, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	var err error
	if g.local != "" {
		err = g.readLocal()
	} else {
		err = g.fetch(ctx)
	}
	if err != nil {
		return nil, withoutURL(err)
	}
	return g.last, nil
}

// readLocal reads the branch's commit from a local repository, bare or not.
func (g *gitRepository) readLocal() error {
	root := osfs.New(g.local)
	if info, err := root.Stat(".git"); err == nil && info.IsDir() {
		if root, err = root.Chroot(".git"); err != nil {
			return err
		}
	}
	if _, err := root.Stat("HEAD"); err != nil {
		return errors.New("there is no git repository")
	}
	store := filesystem.NewStorage(root, cache.NewObjectLRU(cache.MiByte))
	ref, err := storer.ResolveReference(store, g.ref)
	if err != nil {
		return g.noBranch(err)
	}
	return g.take(store, ref.Hash())
}

func (g *gitRepository) noBranch(err error) error {
	if errors.Is(err, plumbing.ErrReferenceNotFound) {
		return fmt.Errorf("there is no branch %s", g.ref.Short())
	}
	return err
}

// fetch asks a server for the branch's commit and, when it is a new one, for its
// objects.
func (g *gitRepository) fetch(ctx context.Context) (err error) {
	session, err := g.session(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = session.Close() }() // what it says after the pack has no meaning
	refs, err := session.AdvertisedReferencesContext(ctx)
	if err != nil {
		return err
	}
	all, err := refs.AllReferences()
	if err != nil {
		return err
	}
	ref, err := storer.ResolveReference(all, g.ref)
	if err != nil {
		return g.noBranch(err)
	}
	if ref.Hash() == g.commit {
		return nil
	}
	pack, err := session.UploadPack(ctx, packRequest(ref.Hash(), refs.Capabilities))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, pack.Close()) }()
	var received io.Reader = pack
	if refs.Capabilities.Supports(capability.Sideband64k) {
		received = sideband.NewDemuxer(sideband.Sideband64k, pack)
	}
	store, err := unpack(received)
	if err != nil {
		return err
	}
	return g.take(store, ref.Hash())
}

// packRequest asks for one commit without its history.
func packRequest(commit plumbing.Hash, can *capability.List) *packp.UploadPackRequest {
	r := packp.NewUploadPackRequest()
	r.Wants = []plumbing.Hash{commit}
	if can.Supports(capability.Shallow) {
		r.Depth = packp.DepthCommits(1)
		_ = r.Capabilities.Set(capability.Shallow) // takes no argument, so it cannot fail
	}
	for _, c := range []capability.Capability{capability.Sideband64k, capability.OFSDelta} {
		if can.Supports(c) {
			_ = r.Capabilities.Set(c)
		}
	}
	return r
}

// take keeps the units of a commit.
func (g *gitRepository) take(store storer.EncodedObjectStorer, hash plumbing.Hash) error {
	if hash == g.commit && g.last != nil {
		return nil
	}
	commit, err := object.GetCommit(store, hash)
	if err != nil {
		return err
	}
	tree, err := commit.Tree()
	if err != nil {
		return err
	}
	units, err := g.units(tree)
	if err != nil {
		return err
	}
	g.commit, g.last = hash, units
	return nil
}

// units returns the rule files of the path, in order of their names. As in a folder
// of files, folders below it and hidden files are left out.
func (g *gitRepository) units(tree *object.Tree) ([]unit, error) {
	units := []unit{}
	add := func(f *object.File, name string) error {
		if f.Size > maxFile {
			return fmt.Errorf("%s is larger than %d MiB", name, maxFile>>20)
		}
		text, err := f.Contents()
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		units = append(units, unit{name: g.name + ":" + name, data: []byte(text)})
		return nil
	}
	if g.path != "" {
		if f, err := tree.File(g.path); err == nil {
			return units, add(f, g.path)
		}
		below, err := tree.Tree(g.path)
		if err != nil {
			return nil, fmt.Errorf("there is no %s on the branch", g.path)
		}
		tree = below
	}
	for _, e := range tree.Entries {
		if !e.Mode.IsFile() || !isRuleFile(e.Name) {
			continue
		}
		f, err := tree.TreeEntryFile(&e)
		if err == nil {
			err = add(f, path.Join(g.path, e.Name))
		}
		if err != nil {
			return nil, err
		}
	}
	return units, nil
}

var _ remote = (*gitRepository)(nil)
