package sql

import (
	"context"
	"database/sql"

	"github.com/gatewarden/gatewarden/store"
)

// Tables lists every table, for tests that read them raw.
var Tables = []string{"gw_meta", "gw_rules", "gw_policies", "gw_groups", "gw_group_members", "gw_key_sets", "gw_keys", "gw_key_lives", "gw_clients", "gw_registrations", "gw_trust_grants", "gw_tokens",
	"gw_flows", "gw_login_sessions", "gw_consents", "gw_replays", "gw_users", "gw_user_identities", "gw_user_generators", "gw_user_recovery_codes", "gw_user_passkeys", "gw_user_logins", "gw_attempts", "gw_logouts", "gw_participants", "gw_revisions", "gw_revision_log", migrationsTable}

// Pool returns the connections of an open store.
func Pool(s store.Store) *sql.DB { return s.(*Store).pool }

// Header begins what is sealed with a system secret.
func Header(secret string) []byte {
	r, err := newRing([]string{secret}, false)
	if err != nil {
		panic(err)
	}
	return r.header()
}

// Exec runs any statement on an open store.
func Exec(ctx context.Context, s *Store, statement string) error {
	_, err := s.exec(ctx, statement)
	return err
}
