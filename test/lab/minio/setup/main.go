// Makes a bucket and an access key that may use this bucket and no other, in the MinIO of this machine:
//
//	setup BUCKET ACCESS_KEY < SECRET_KEY
//
// It takes the administrator's keys from MINIO_ROOT_USER and MINIO_ROOT_PASSWORD, and can be run again.
package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/signer"
	"github.com/secure-io/sio-go"
	"golang.org/x/crypto/argon2"
)

const server = "127.0.0.1:9000"

var rootUser, rootPassword = os.Getenv("MINIO_ROOT_USER"), os.Getenv("MINIO_ROOT_PASSWORD")

func main() {
	if len(os.Args) != 3 {
		fail(fmt.Errorf("usage: setup BUCKET ACCESS_KEY < SECRET_KEY"))
	}
	secret, err := io.ReadAll(os.Stdin)
	if err != nil {
		fail(err)
	}
	if err := setup(os.Args[1], os.Args[2], strings.TrimSpace(string(secret))); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "setup:", err)
	os.Exit(1)
}

func setup(bucket, accessKey, secretKey string) error {
	ctx := context.Background()
	client, err := minio.New(server, &minio.Options{Creds: credentials.NewStaticV4(rootUser, rootPassword, "")})
	if err != nil {
		return err
	}
	exists, err := client.BucketExists(ctx, bucket)
	if err != nil {
		return err
	}
	if !exists {
		if err := client.MakeBucket(ctx, bucket, minio.MakeBucketOptions{}); err != nil {
			return err
		}
	}
	policy := asJSON(map[string]any{
		"Version": "2012-10-17",
		"Statement": []map[string]any{{
			"Effect":   "Allow",
			"Action":   []string{"s3:*"},
			"Resource": []string{"arn:aws:s3:::" + bucket, "arn:aws:s3:::" + bucket + "/*"},
		}},
	})
	user, err := encrypted(asJSON(map[string]string{"secretKey": secretKey, "status": "enabled"}))
	if err != nil {
		return err
	}
	for _, request := range []struct {
		path  string
		query url.Values
		body  []byte
	}{
		{"add-canned-policy", url.Values{"name": {bucket}}, policy},
		{"add-user", url.Values{"accessKey": {accessKey}}, user},
		{"set-user-or-group-policy", url.Values{"policyName": {bucket}, "userOrGroup": {accessKey}, "isGroup": {"false"}}, nil},
	} {
		if err := administer(request.path, request.query, request.body); err != nil {
			return err
		}
	}
	return nil
}

func asJSON(value any) []byte {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return text
}

// One call of MinIO's admin API.
func administer(path string, query url.Values, body []byte) error {
	target := "http://" + server + "/minio/admin/v3/" + path + "?" + query.Encode()
	request, err := http.NewRequest(http.MethodPut, target, bytes.NewReader(body))
	if err != nil {
		return err
	}
	sum := sha256.Sum256(body)
	request.Header.Set("X-Amz-Content-Sha256", hex.EncodeToString(sum[:]))
	response, err := http.DefaultClient.Do(signer.SignV4(*request, rootUser, rootPassword, "", ""))
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		words, _ := io.ReadAll(io.LimitReader(response.Body, 1000))
		return fmt.Errorf("%s: %s: %s", path, response.Status, words)
	}
	return nil
}

// The admin API takes secrets encrypted with the administrator's key only: salt, 0 for Argon2id with AES-256-GCM, nonce,
// text. The official client does the same; it is under the AGPL, so nothing here is linked with it.
func encrypted(text []byte) ([]byte, error) {
	salt := make([]byte, 32)
	rand.Read(salt)
	stream, err := sio.AES_256_GCM.Stream(argon2.IDKey([]byte(rootPassword), salt, 1, 64*1024, 4, 32))
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, stream.NonceSize())
	rand.Read(nonce)
	out := bytes.NewBuffer(append(append(salt, 0), nonce...))
	writer := stream.EncryptWriter(out, nonce, nil)
	if _, err := writer.Write(text); err != nil {
		return nil, err
	}
	if err := writer.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
