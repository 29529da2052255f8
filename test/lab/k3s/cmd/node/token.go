package main

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const tokenPrefix = "K10"

func randomHex(bytes int) string {
	raw := make([]byte, bytes)
	_, _ = rand.Read(raw)
	return hex.EncodeToString(raw)
}

func hashCA(ca []byte) string {
	sum := sha256.Sum256(ca)
	return hex.EncodeToString(sum[:])
}

// formatToken is the secure form of docs.k3s.io/cli/token: K10<hash of the CA>::<user>:<secret>.
func formatToken(ca []byte, user, secret string) string {
	return tokenPrefix + hashCA(ca) + "::" + user + ":" + secret
}

// parseToken takes the secure form and the short one, which is the secret alone.
func parseToken(token string) (caHash, user, secret string, err error) {
	if token == "" {
		return "", "", "", fmt.Errorf("token must not be empty")
	}
	if !strings.HasPrefix(token, tokenPrefix) {
		return "", "", token, nil
	}
	hash, credentials, found := strings.Cut(strings.TrimPrefix(token, tokenPrefix), "::")
	if !found {
		return "", "", token, nil
	}
	if hash != "" && len(hash) != sha256.Size*2 {
		return "", "", "", fmt.Errorf("invalid token CA hash length")
	}
	user, secret, found = strings.Cut(credentials, ":")
	if !found || secret == "" {
		return "", "", "", fmt.Errorf("invalid token format")
	}
	return hash, user, secret, nil
}

// Joined is a supervisor that a token opens: its CA was checked against the token's hash.
type Joined struct {
	url    string
	ca     []byte
	user   string
	secret string
	client *http.Client
}

// join fetches the CA of a supervisor and checks it, and lets the request be repeated with a client certificate.
func join(url, token, user string, certificates ...tls.Certificate) (*Joined, error) {
	hash, named, secret, err := parseToken(token)
	if err != nil {
		return nil, err
	}
	if user == "" {
		user = named
	}
	if user == "" {
		user = "node"
	}
	insecure := &http.Client{
		Timeout:   10 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true},
	}
	response, err := insecure.Get(url + "/cacerts")
	if err != nil {
		return nil, fmt.Errorf("failed to get CA certs: %w", err)
	}
	ca, err := answer(response)
	if err != nil {
		return nil, fmt.Errorf("failed to get CA certs: %w", err)
	}
	if hash == "" {
		warn("Cluster CA certificate is not trusted by the host CA bundle, but the token does not include a CA hash. " +
			"Use the full token from the server's node-token file to enable Cluster CA validation.")
	} else if held := hashCA(ca); held != hash {
		return nil, fmt.Errorf("token CA hash does not match the Cluster CA certificate hash: %s != %s", hash, held)
	}
	return &Joined{url, ca, user, secret, trusting(ca, certificates...)}, nil
}

func trusting(ca []byte, certificates ...tls.Certificate) *http.Client {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	return &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: certificates}, DisableKeepAlives: true,
	}}
}

func (j *Joined) do(method, path string, body []byte, headers map[string]string) ([]byte, error) {
	request, err := http.NewRequest(method, j.url+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.SetBasicAuth(j.user, j.secret)
	for name, value := range headers {
		request.Header.Set(name, value)
	}
	response, err := j.client.Do(request)
	if err != nil {
		return nil, err
	}
	return answer(response)
}

func (j *Joined) get(path string) ([]byte, error) { return j.do(http.MethodGet, path, nil, nil) }

func answer(response *http.Response) ([]byte, error) {
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	if response.StatusCode > 299 {
		said := strings.TrimSpace(string(content))
		return nil, fmt.Errorf("%s: %s %s", response.Request.URL, response.Status, said)
	}
	return content, nil
}

// secrets are what opens this cluster: the server's and, where it differs, the agents'.
type secrets struct{ server, agent string }

func (s secrets) opens(user, secret string, server bool) bool {
	same := func(a, b string) bool { return a != "" && subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
	if user == "server" && same(s.server, secret) {
		return true
	}
	return !server && user == "node" && same(s.agent, secret)
}

// readSecrets finds the cluster's tokens: given, else kept from before, else made, as the first server does.
func (c *Config) readSecrets() (secrets, error) {
	given, err := c.secret("token")
	if err != nil {
		return secrets{}, err
	}
	if given == "" {
		kept, err := os.ReadFile(filepath.Join(serverDir, "token"))
		if err == nil {
			given = strings.TrimSpace(string(kept))
		} else if c.text("server") == "" {
			given = randomHex(16)
		} else {
			return secrets{}, fmt.Errorf("--token is required to join a cluster")
		}
	}
	_, _, server, err := parseToken(given)
	if err != nil {
		return secrets{}, err
	}
	agent, err := c.secret("agent-token")
	if err != nil {
		return secrets{}, err
	}
	if agent == "" {
		return secrets{server, server}, nil
	}
	_, _, agent, err = parseToken(agent)
	return secrets{server, agent}, err
}

// writeTokens leaves server/token, and server/node-token and server/agent-token as K3s does: links where one token
// serves for all.
func (c *Config) writeTokens(s secrets) error {
	ca, err := os.ReadFile(tlsFile("server-ca.crt"))
	if err != nil {
		return err
	}
	at := func(name string) string { return filepath.Join(serverDir, name) }
	if err := writeFile(at("token"), []byte(formatToken(ca, "server", s.server)+"\n"), 0o600); err != nil {
		return err
	}
	_ = os.Remove(at("node-token"))
	if err := os.Symlink(at("token"), at("node-token")); err != nil {
		return err
	}
	_ = os.Remove(at("agent-token"))
	if s.agent == s.server {
		return os.Symlink(at("token"), at("agent-token"))
	}
	return writeFile(at("agent-token"), []byte(formatToken(ca, "node", s.agent)+"\n"), 0o600)
}
