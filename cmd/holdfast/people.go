package main

import (
	"os"
	"strings"

	"holdfast/api"
	"holdfast/domain"
)

// peopleFlags say whose word the API takes for who people are.
type peopleFlags struct {
	Issuer           string   `env:"HOLDFAST_OIDC_ISSUER" placeholder:"URL" help:"The provider of identities; https. Its tokens are let in beside keys, and the console offers to sign in there. Default: only keys are let in."`
	ClientID         string   `env:"HOLDFAST_OIDC_CLIENT_ID" placeholder:"ID" help:"For whom its tokens must be: what holdfast is called there."`
	ClientSecretFile string   `env:"HOLDFAST_OIDC_CLIENT_SECRET_FILE" placeholder:"FILE" help:"File with what the provider wants to hear of holdfast when somebody signs in; or HOLDFAST_OIDC_CLIENT_SECRET is it. Default: nothing, for providers to which PKCE is enough."`
	Group            []string `env:"HOLDFAST_OIDC_GROUP" placeholder:"ROLE=GROUP" help:"Who is in that group has that role: customer-view, sales, organiser, sre or admin. Give the flag once for each; the first whose group a person is in counts."`
	GroupsClaim      string   `env:"HOLDFAST_OIDC_GROUPS_CLAIM" default:"groups" placeholder:"NAME" help:"Where tokens say the groups. Default: groups."`
	Scope            []string `env:"HOLDFAST_OIDC_SCOPE" default:"email" placeholder:"NAME" help:"What is asked for beside openid when somebody signs in; some providers tell the groups for groups only. Default: email."`
}

// people are those who may sign in; nil: nobody.
func (f peopleFlags) people() (*api.People, error) {
	if f.Issuer == "" {
		if f.ClientID != "" || len(f.Group) > 0 {
			return nil, badUsage("--oidc-issuer: want one, with --oidc-client-id and --oidc-group")
		}
		return nil, nil
	}
	secret := os.Getenv("HOLDFAST_OIDC_CLIENT_SECRET")
	if f.ClientSecretFile != "" { // it comes before what the environment has for all
		var err error
		if secret, err = keyFile("--oidc-client-secret-file", f.ClientSecretFile); err != nil {
			return nil, err
		}
	}
	c := api.PeopleConfig{Issuer: f.Issuer, ClientID: f.ClientID, ClientSecret: secret, GroupsClaim: f.GroupsClaim, Scopes: f.Scope}
	for _, g := range f.Group {
		role, group, _ := strings.Cut(g, "=")
		c.Roles = append(c.Roles, api.GroupRole{Role: domain.APIRole(role), Group: group})
	}
	people, err := api.NewPeople(c)
	if err != nil {
		return nil, badUsage("--oidc-issuer, --oidc-client-id, --oidc-group: %w", err)
	}
	return people, nil
}
