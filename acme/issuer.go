package acme

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path"
	"strings"
	"sync"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"
)

// issuer asks one directory for certificates. It implements certmagic.Issuer and
// certmagic.RenewalInfoGetter.
type issuer struct {
	options Options
	storage certmagic.Storage
	client  *acmez.Client

	mu      sync.Mutex // held while the account is looked for
	account acme.Account
}

func newIssuer(o Options, storage certmagic.Storage) *issuer {
	i := &issuer{options: o, storage: storage}
	i.client = &acmez.Client{
		Client: &acme.Client{Directory: o.Directory, HTTPClient: o.HTTP, UserAgent: "gatewarden"},
		ChallengeSolvers: map[string]acmez.Solver{
			acme.ChallengeTypeTLSALPN01: challenges{i},
		},
	}
	if o.HTTP01 {
		i.client.ChallengeSolvers[acme.ChallengeTypeHTTP01] = challenges{i}
	}
	return i
}

// IssuerKey implements certmagic.Issuer: certificates of one directory are alike. It is
// a name for a folder.
func (i *issuer) IssuerKey() string {
	u, err := url.Parse(i.options.Directory)
	if err != nil || u.Host == "" {
		return certmagic.StorageKeys.Safe(i.options.Directory)
	}
	return certmagic.StorageKeys.Safe(strings.ReplaceAll(u.Host+strings.TrimSuffix("-"+strings.Trim(u.Path, "/"), "-"), "/", "-"))
}

// Issue implements certmagic.Issuer.
func (i *issuer) Issue(ctx context.Context, request *x509.CertificateRequest) (*certmagic.IssuedCertificate, error) {
	chains, err := i.order(ctx, request)
	var problem acme.Problem
	if errors.As(err, &problem) && problem.Type == acme.ProblemTypeAccountDoesNotExist {
		// The directory was set up anew.
		if err := i.forget(ctx); err != nil {
			return nil, err
		}
		chains, err = i.order(ctx, request)
	}
	if err != nil {
		return nil, err
	}
	if len(chains) == 0 {
		return nil, errors.New("the directory gave no certificate")
	}
	return &certmagic.IssuedCertificate{Certificate: chains[0].ChainPEM, Metadata: chains[0]}, nil
}

func (i *issuer) order(ctx context.Context, request *x509.CertificateRequest) ([]acme.Certificate, error) {
	account, err := i.open(ctx)
	if err != nil {
		return nil, err
	}
	order, err := acmez.OrderParametersFromCSR(account, request)
	if err != nil {
		return nil, err
	}
	return i.client.ObtainCertificate(ctx, order)
}

// GetRenewalInfo implements certmagic.RenewalInfoGetter (RFC 9773).
func (i *issuer) GetRenewalInfo(ctx context.Context, c certmagic.Certificate) (acme.RenewalInfo, error) {
	return i.client.GetRenewalInfo(ctx, c.Leaf)
}

// at is the key of a value in the storage.
func (i *issuer) at(parts ...string) string {
	return path.Join(append([]string{"acme", i.IssuerKey()}, parts...)...)
}

// accountAt is the account's folder: another contact or binding is another account.
func (i *issuer) accountAt(file string) string {
	what, _ := json.Marshal([]string{i.options.Email, i.options.KeyID}) // strings can always be encoded
	sum := sha256.Sum256(what)
	return i.at("accounts", hex.EncodeToString(sum[:8]), file)
}

// open returns the account, which it registers when the storage has none. Nodes that
// share the storage share the account.
func (i *issuer) open(ctx context.Context) (acme.Account, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.account.Status != "" {
		return i.account, nil
	}
	lock := i.IssuerKey() + "_account"
	if err := i.storage.Lock(ctx, lock); err != nil {
		return acme.Account{}, fmt.Errorf("locking the storage: %w", err)
	}
	defer func() { _ = i.storage.Unlock(context.WithoutCancel(ctx), lock) }() // it would end by itself
	account, err := i.load(ctx)
	if errors.Is(err, fs.ErrNotExist) {
		account, err = i.register(ctx)
	}
	if err != nil {
		return acme.Account{}, fmt.Errorf("account: %w", err)
	}
	i.account = account
	return account, nil
}

func (i *issuer) load(ctx context.Context) (account acme.Account, err error) {
	text, err := i.storage.Load(ctx, i.accountAt("account.json"))
	if err != nil {
		return account, err
	}
	if err := json.Unmarshal(text, &account); err != nil {
		return account, err
	}
	key, err := i.storage.Load(ctx, i.accountAt("key.pem"))
	if err != nil {
		return account, err
	}
	account.PrivateKey, err = certmagic.PEMDecodePrivateKey(key)
	return account, err
}

func (i *issuer) register(ctx context.Context) (acme.Account, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return acme.Account{}, err
	}
	account := acme.Account{TermsOfServiceAgreed: true, PrivateKey: key} // New is called when the operator did
	if i.options.Email != "" {
		account.Contact = []string{"mailto:" + i.options.Email}
	}
	if i.options.KeyID != "" {
		binding := acme.EAB{KeyID: i.options.KeyID, MACKey: i.options.HMACKey}
		if err := account.SetExternalAccountBinding(ctx, i.client.Client, binding); err != nil {
			return account, err
		}
	}
	if account, err = i.client.NewAccount(ctx, account); err != nil {
		return account, err
	}
	return account, i.save(ctx, account, key)
}

func (i *issuer) save(ctx context.Context, account acme.Account, key crypto.PrivateKey) error {
	text, err := json.Marshal(account)
	if err != nil {
		return err
	}
	encoded, err := certmagic.PEMEncodePrivateKey(key)
	if err != nil {
		return err
	}
	if err := i.storage.Store(ctx, i.accountAt("key.pem"), encoded); err != nil {
		return err
	}
	return i.storage.Store(ctx, i.accountAt("account.json"), text)
}

// forget removes an account that the directory does not know.
func (i *issuer) forget(ctx context.Context) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.account = acme.Account{}
	return i.storage.Delete(ctx, i.accountAt("account.json"))
}
