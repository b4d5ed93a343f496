package redistest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// Authority signs certificates.
type Authority struct {
	tb          testing.TB
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	// File has its certificate in PEM.
	File string
}

// Certificate is one with its key, each a file in PEM.
type Certificate struct{ File, Key string }

// NewAuthority makes one, as nobody knows it yet.
func NewAuthority(tb testing.TB) *Authority {
	tb.Helper()
	a := &Authority{tb: tb}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "an authority for tests"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	made := a.sign(template, time.Now().Add(time.Hour))
	a.File = made.File
	return a
}

// Issue signs a certificate of hosts, names or IP addresses, that is good until a time.
func (a *Authority) Issue(until time.Time, hosts ...string) Certificate {
	a.tb.Helper()
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "a certificate for tests"}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	return a.sign(template, until)
}

// sign signs with the authority's key, or, for the authority itself, with the new one.
func (a *Authority) sign(template *x509.Certificate, until time.Time) Certificate {
	a.tb.Helper()
	must := func(err error) {
		a.tb.Helper()
		if err != nil {
			a.tb.Fatalf("making a certificate: %v", err)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	template.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62))
	must(err)
	template.NotBefore, template.NotAfter = time.Now().Add(-48*time.Hour), until
	parent, signer := a.certificate, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	must(err)
	if a.certificate == nil {
		a.certificate, err = x509.ParseCertificate(der)
		must(err)
		a.key = key
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	must(err)
	dir := a.tb.TempDir()
	c := Certificate{filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")}
	must(os.WriteFile(c.File, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	must(os.WriteFile(c.Key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600))
	return c
}

// Client is the configuration of a client that trusts the authority and nobody else.
func (a *Authority) Client(certificates ...Certificate) *tls.Config {
	a.tb.Helper()
	config := &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
	config.RootCAs.AddCert(a.certificate)
	for _, c := range certificates {
		pair, err := tls.LoadX509KeyPair(c.File, c.Key)
		if err != nil {
			a.tb.Fatalf("reading a certificate: %v", err)
		}
		config.Certificates = append(config.Certificates, pair)
	}
	return config
}

// TLSArgs are the arguments of a server that speaks TLS at a port of its own, besides its
// plain one, and asks nobody for a certificate.
func TLSArgs(tb testing.TB, a *Authority, c Certificate) []string {
	return []string{
		"--tls-port", strconv.Itoa(freePort(tb)), "--tls-cert-file", c.File, "--tls-key-file", c.Key,
		"--tls-ca-cert-file", a.File, "--tls-auth-clients", "no",
	}
}

// TLSAddr is where a server that was started with TLSArgs speaks TLS.
func (s *Server) TLSAddr() string {
	for i, arg := range s.args {
		if arg == "--tls-port" {
			return "127.0.0.1:" + s.args[i+1]
		}
	}
	s.tb.Fatal("the server speaks no TLS")
	return ""
}
