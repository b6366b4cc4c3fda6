package app

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/gatewarden/gatewarden/config"
)

// selfSigned is a certificate as the configuration holds it.
func selfSigned(t *testing.T) config.TLS {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"gate.test"}}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	encode := func(kind string, b []byte) config.PEM {
		return config.PEM{Base64: base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}))}
	}
	return config.TLS{Cert: encode("CERTIFICATE", cert), Key: encode("PRIVATE KEY", der)}
}

func TestAListenerSpeaksTLS12AndNewerOnly(t *testing.T) {
	server, err := loadTLS(selfSigned(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	for version, accepted := range map[uint16]bool{tls.VersionTLS10: false, tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		ours, theirs := net.Pipe()
		done := make(chan error, 1)
		go func() { done <- tls.Server(ours, server.Config).Handshake() }()
		client := tls.Client(theirs, &tls.Config{MinVersion: version, MaxVersion: version, InsecureSkipVerify: true})
		err := client.Handshake()
		if (err == nil) != accepted {
			t.Errorf("%s: got %v, want accepted %v", tls.VersionName(version), err, accepted)
		}
		_ = theirs.Close()
		<-done
		_ = ours.Close()
	}
}
