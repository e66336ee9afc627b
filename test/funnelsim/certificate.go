package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log"
	"math/big"
	"time"
)

// certificate is what Let's Encrypt would have given the gateway, from an authority of the test's own. PEM.
type certificate struct {
	CA    string `json:"ca"`
	Chain string `json:"chain"`
	Key   string `json:"key"`
}

// newCertificate makes one that is fresh and lasts, so that nothing is renewed while the test runs.
func newCertificate(name string) certificate {
	caKey, caCert := sign(&x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "funnelsim"},
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	}, nil, nil)
	key, cert := sign(&x509.Certificate{
		SerialNumber: big.NewInt(2),
		Subject:      pkix.Name{CommonName: name},
		DNSNames:     []string{name},
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, caCert, caKey)
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		log.Fatal(err)
	}
	ca := encode("CERTIFICATE", caCert.Raw)
	return certificate{CA: ca, Chain: encode("CERTIFICATE", cert.Raw) + ca, Key: encode("EC PRIVATE KEY", der)}
}

// sign makes a key and its certificate; without an issuer it signs itself.
func sign(template, issuer *x509.Certificate, issuerKey *ecdsa.PrivateKey) (*ecdsa.PrivateKey, *x509.Certificate) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		log.Fatal(err)
	}
	template.NotBefore = time.Now().Add(-time.Hour)
	template.NotAfter = time.Now().Add(80 * 24 * time.Hour)
	if issuer == nil {
		issuer, issuerKey = template, key
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, issuer, &key.PublicKey, issuerKey)
	if err != nil {
		log.Fatal(err)
	}
	cert, err := x509.ParseCertificate(raw)
	if err != nil {
		log.Fatal(err)
	}
	return key, cert
}

func encode(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}
