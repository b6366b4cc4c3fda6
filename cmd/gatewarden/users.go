package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/gatewarden/gatewarden/manage/client"
	"github.com/gatewarden/gatewarden/users"
)

func newUsers(environ []string) *cobra.Command {
	parent := &cobra.Command{Use: "users", Short: "Manage the users of the built-in login"}
	r := newRemote(parent, environ)
	for _, c := range collection(r, func(c *client.Client) client.Collection[users.User] { return c.Users }, "ID\tUSERNAME\tEMAIL\tDISABLED",
		func(v users.User) string { return v.ID },
		func(v users.User) string {
			return fmt.Sprintf("%s\t%s\t%s\t%t", v.ID, v.Username, v.Email, v.Disabled)
		}) {
		if c.Name() != "import" { // which is its own: it streams, and goes on after a fault
			parent.AddCommand(c)
		}
	}
	parent.AddCommand(createUser(r), updateUser(r), setPassword(r), resetSecondFactor(r), importUsers(r))
	return parent
}

// userFlags adds what users have and returns what changes a user by those flags that
// were given.
func userFlags(c *cobra.Command) func(u *users.User) {
	username := c.Flags().String("username", "", "user name; a login")
	email := c.Flags().String("email", "", "email address; a login")
	verified := c.Flags().Bool("email-verified", false, "the email address was checked")
	name := c.Flags().String("name", "", "name for people, the claim name")
	claims := c.Flags().StringToString("claim", nil, "further standard claims: given_name=Ada")
	disabled := c.Flags().Bool("disabled", false, "the user cannot log in, and loses sessions and tokens")
	return func(u *users.User) {
		given := c.Flags().Changed
		if given("username") {
			u.Username = *username
		}
		if given("email") {
			u.Email = *email
		}
		if given("email-verified") {
			u.EmailVerified = *verified
		}
		if given("disabled") {
			u.Disabled = *disabled
		}
		set := func(claim, value string) {
			if u.Claims == nil {
				u.Claims = map[string]any{}
			}
			if u.Claims[claim] = value; value == "" {
				delete(u.Claims, claim)
			}
		}
		if given("name") {
			set("name", *name)
		}
		for claim, value := range *claims {
			set(claim, value)
		}
	}
}

// passwordFlags adds the ways to give a password; the returned function reads it.
func passwordFlags(c *cobra.Command) func() (string, error) {
	plain := c.Flags().String("password", "", "the password, which other users of this machine can see meanwhile; default: asked for, or read from standard input")
	return func() (string, error) {
		if c.Flags().Changed("password") {
			return *plain, nil
		}
		return askPassword(c)
	}
}

// askPassword asks at a terminal, twice and without echo; else the password is the
// line on standard input.
func askPassword(c *cobra.Command) (string, error) {
	in, isFile := c.InOrStdin().(*os.File)
	if !isFile || !term.IsTerminal(int(in.Fd())) {
		return firstLine(c.InOrStdin())
	}
	var typed [2]string
	for i, prompt := range []string{"Password: ", "Again: "} {
		fmt.Fprint(c.ErrOrStderr(), prompt)
		line, err := term.ReadPassword(int(in.Fd()))
		fmt.Fprintln(c.ErrOrStderr())
		if err != nil {
			return "", err
		}
		typed[i] = string(line)
	}
	if typed[0] != typed[1] {
		return "", usageError{errors.New("the two passwords differ")}
	}
	return typed[0], nil
}

func createUser(r *remote) *cobra.Command {
	c := &cobra.Command{Use: "create", Short: "Create a user; the password is asked for, or read from standard input", Args: cobra.NoArgs}
	fill, password := userFlags(c), passwordFlags(c)
	id := c.Flags().String("id", "", "subject of tokens, which never changes; empty: a random one")
	without := c.Flags().Bool("no-password", false, "the user gets no password yet")
	c.RunE = r.run(func(ctx context.Context, c *cobra.Command, api *client.Client, _ []string) error {
		u := users.User{ID: *id}
		fill(&u)
		if !*without {
			var err error
			if u.Password, err = password(); err != nil {
				return err
			}
		}
		created, err := api.Users.Create(ctx, u)
		if err != nil {
			return err
		}
		if c.Flags().Changed("format") {
			return r.print(c, created, "", nil)
		}
		fmt.Fprintln(c.OutOrStdout(), created.ID)
		return nil
	})
	return c
}

func updateUser(r *remote) *cobra.Command {
	c := &cobra.Command{Use: "update id", Short: "Change what the flags name of a user", Args: cobra.ExactArgs(1)}
	fill := userFlags(c)
	c.RunE = r.run(func(ctx context.Context, c *cobra.Command, api *client.Client, args []string) error {
		u, err := api.Users.Get(ctx, args[0])
		if err != nil {
			return err
		}
		fill(&u)
		updated, err := api.Users.Replace(ctx, args[0], u)
		if err != nil {
			return err
		}
		return r.print(c, updated, "", nil)
	})
	return c
}

func setPassword(r *remote) *cobra.Command {
	c := &cobra.Command{Use: "set-password id", Short: "Give a user a new password and end the user's logins; it is asked for, or read from standard input", Args: cobra.ExactArgs(1)}
	password := passwordFlags(c)
	c.RunE = r.run(func(ctx context.Context, _ *cobra.Command, api *client.Client, args []string) error {
		plain, err := password()
		if err != nil {
			return err
		}
		return api.SetPassword(ctx, args[0], plain)
	})
	return c
}

func resetSecondFactor(r *remote) *cobra.Command {
	return &cobra.Command{Use: "reset-second-factor id", Short: "Take a user's second factors and recovery codes away and end the user's logins", Args: cobra.ExactArgs(1),
		RunE: r.run(func(ctx context.Context, _ *cobra.Command, api *client.Client, args []string) error {
			return api.ResetSecondFactor(ctx, args[0])
		})}
}

// progressEvery is how many users of an import make a line of progress.
const progressEvery = 500

func importUsers(r *remote) *cobra.Command {
	c := &cobra.Command{Use: "import file...", Short: "Create users from files of JSON or NDJSON, with passwords or their hashes (argon2id, bcrypt, PBKDF2); - is the standard input",
		Args: cobra.MinimumNArgs(1)}
	skip := c.Flags().Bool("skip-existing", false, "users whose id or login is taken are left as they are")
	c.RunE = r.run(func(ctx context.Context, c *cobra.Command, api *client.Client, args []string) error {
		imported, skipped, failed := 0, 0, 0
		for _, name := range args {
			err := readUsers(c, name, func(line int, u users.User) error {
				body, err := json.Marshal(u)
				if err != nil {
					return err
				}
				var refused *client.Error
				created, err := api.Users.Create(ctx, json.RawMessage(body))
				switch {
				case err == nil:
					imported++
					fmt.Fprintln(c.OutOrStdout(), created.ID)
				case !errors.As(err, &refused):
					return err
				case *skip && refused.Reason == "user_exists":
					skipped++
				default:
					failed++
					fmt.Fprintf(c.ErrOrStderr(), "%s:%d: %s\n", name, line, refused.Message)
				}
				if done := imported + skipped + failed; done%progressEvery == 0 {
					fmt.Fprintf(c.ErrOrStderr(), "%d users\n", done)
				}
				return nil
			})
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		fmt.Fprintf(c.ErrOrStderr(), "imported %d, skipped %d, failed %d\n", imported, skipped, failed)
		if failed > 0 {
			return fmt.Errorf("users that were not imported: %d", failed)
		}
		return nil
	})
	return c
}

// readUsers gives each user of a file, or of standard input, to each.
func readUsers(c *cobra.Command, name string, each func(line int, u users.User) error) error {
	var r io.Reader = c.InOrStdin()
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		r = f
	}
	return users.Import(r, each)
}
