// Package okta has what Vault takes of it for its second factor. The real one takes longer to compile than any other package.
// Without a configuration nothing of it is called.
package okta

import (
	"context"
	"errors"
)

type Setter func()

func WithToken(string) Setter { return nil }

func WithOrgUrl(string) Setter { return nil }

func WithCache(bool) Setter { return nil }

type Configuration struct{ Context context.Context }

func NewConfiguration(...Setter) (*Configuration, error) {
	return nil, errors.New("Okta is not in the lab's build")
}

type APIClient struct {
	UserAPI       users
	UserFactorAPI factors
}

func NewAPIClient(*Configuration) *APIClient { return &APIClient{} }

func (*APIClient) GetConfig() *Configuration { return nil }

type request[Answer any] struct{}

func (it request[Answer]) Filter(string) request[Answer] { return it }

func (request[Answer]) Execute() (answer Answer, _ any, _ error) { return }

type identified struct{}

func (identified) GetId() string { return "" }

type users struct{}

func (users) ListUsers(context.Context) (it request[[]identified]) { return }

type UserFactorPush = identified

type Factor struct{ UserFactorPush *UserFactorPush }

type verified struct{ Links any }

func (verified) GetFactorResult() string { return "" }

type Transaction struct {
	UserFactorPushTransaction, UserFactorPushTransactionRejected       *struct{}
	UserFactorPushTransactionTimeout, UserFactorPushTransactionWaiting *struct{}
}

type factors struct{}

func (factors) ListFactors(context.Context, string) (it request[[]Factor]) { return }

func (factors) VerifyFactor(context.Context, string, string) (it request[verified]) { return }

func (factors) GetFactorTransactionStatus(context.Context, string, string, string) (it request[Transaction]) {
	return
}
