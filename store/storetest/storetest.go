// Package storetest is the behaviour that every implementation of store.Store must
// show, on every database. It has one entry point and no opt-outs.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/oauth2"
	"github.com/gatewarden/gatewarden/store"
)

// Database is one empty database under test.
type Database struct {
	// Open opens a store on it with the system secrets. Opened again after Close it
	// finds what was stored, if the database is Durable, and nothing otherwise.
	Open func(secrets ...string) (store.Store, error)
	// Dump returns every value of every row of an open store.
	Dump func(t *testing.T, s store.Store) []byte
	// Reseal seals everything with the first secret that the store was opened with, and
	// says how many rows that were.
	Reseal func(s store.Store) (int64, error)
	// Header begins every value that is sealed with a secret.
	Header func(secret string) []byte
	// Durable databases outlive the store.
	Durable bool
}

// Secret is the system secret that tests open with.
const Secret = "a system secret of the store's tests"

// parallel is how many callers race for every transition.
const parallel = 64

// Run tests a store; fresh returns a new empty database for each test.
func Run(t *testing.T, fresh func(t *testing.T) Database) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, store.Store)
	}{
		{"RulesAreCreatedReplacedAndDeleted", rulesCRUD},
		{"AnEtagDecidesBetweenParallelReplacements", rulesRace},
		{"PoliciesAreCreatedUpdatedAndDeleted", policiesCRUD},
		{"GroupsKeepTheirMembersInOrder", groupsCRUD},
		{"MembersAddedInParallelAreAllKept", groupsRace},
		{"KeySetsComeNewestFirst", keysCRUD},
		{"AKeySetIsReplacedWhole", keysReplace},
		{"OfParallelSuccessorsOfOneReadSetOneIsAdded", keysSucceed},
		{"HowLongAKeyLivesOnIsOnlyRaised", keysKept},
		{"ClientsComeBackWholeButForTheSecret", clientsCRUD},
		{"OfParallelChangesToOneReadClientOneWins", clientsRace},
		{"ADeletedClientTakesItsTokensAndConsentsAlong", clientsDelete},
		{"ARegistrationIsChangedByWhoHoldsItsTokenOnly", registrationsCRUD},
		{"OfParallelChangesByOneRegistrationTokenOneWins", registrationsRace},
		{"RegisteredClientsAreBoundedAndUnusedOnesEnd", registrationsSweep},
		{"TokensComeBackWhole", tokensCRUD},
		{"ACodeIsRedeemedOnce", redeemRace},
		{"ARefreshTokenIsRotatedOnce", rotateRace},
		{"AnExpiredTokenBuysNothing", tokensExpiry},
		{"ATransitionThatFailsChangesNothing", tokensAtomic},
		{"RotationEndsTheFamilysAccessTokens", rotateFamily},
		{"ARotatedTokenBuysAgainOnlyInTimeAndUnlessRevoked", reuseRace},
		{"TrustGrantsAreKeptByIssuerSubjectAndKey", trustCRUD},
		{"RevocationEndsExactlyWhatItNames", tokensRevoke},
		{"ARevocationThatRacesRotationsLeavesNothing", revokeRace},
		{"TokensIssuedInParallelAreAllKept", issueRace},
		{"AFlowIsFoundByEveryHash", flowsCRUD},
		{"AFlowMovesOnOnce", flowsRace},
		{"AnExpiredFlowIsGone", flowsExpiry},
		{"AClientThatPollsTooSoonWaitsLonger", flowsPolled},
		{"WhatWaitsForAPersonIsListed", flowsOfSubject},
		{"LoginSessionsEndByIDSubjectAndExpiry", sessionsCRUD},
		{"WhoTookPartInALoginSessionIsToldOnceThatItEnded", participantsTold},
		{"ALogoutIsRecordedOnceAndTheLatestCounts", logoutsRecorded},
		{"ConsentsComeNewestFirst", consentsCRUD},
		{"ARevokedConsentTakesItsTokensAlong", consentsRevoke},
		{"AOneTimeValueIsUsedOnce", replayRace},
		{"OneTimeValuesOfNamespacesAreApart", replayNamespaces},
		{"UsersAreFoundByEveryLogin", usersCRUD},
		{"NoTwoUsersShareALogin", usersUnique},
		{"OfParallelChangesToOneReadUserOneWins", usersRace},
		{"WhoIsDisabledOrDeletedHoldsNothing", usersEnd},
		{"AnIdentityIsOfOneUser", identitiesCRUD},
		{"OfParallelLinksOfOneIdentityOneWins", identitiesRace},
		{"TheLastWayToLogInIsNotUnlinked", identitiesLast},
		{"SecondFactorsComeBackWholeAndGo", factorsCRUD},
		{"AStepOfOneTimeCodesIsAcceptedOnce", codesRace},
		{"ARecoveryCodeIsGoodOnce", recoveryRace},
		{"APasskeyIsOnesAloneAndItsCounterRises", passkeysRace},
		{"OfParallelAttemptsExactlyTheBurstPasses", attemptsRace},
		{"AnAttemptThatIsReturnedIsFreeAgain", attemptsReturn},
		{"EveryLoggedWriteIsInTheLogInOrder", changesLogged},
		{"TheLogSkipsNothingUnderParallelWrites", changesRace},
		{"ASweptLogSaysSo", changesSwept},
		{"SweepDeletesWhatExpiredInBoundedSteps", sweep},
		{"ConsentsOutliveTheirTokens", sweepConsents},
		{"HostileKeysAreOnlyKeys", hostileKeys},
		{"WhatNoDatabaseCanStoreIsRefused", impossibleKeys},
		{"BigValuesComeBackWhole", bigValues},
		{"ACancelledContextStopsEveryCall", cancelled},
		{"OneFailingWriteFailsNoOther", failingNeighbours},
		{"PingAnswers", func(t *testing.T, s store.Store) { check(t, s.Ping(ctx(t))) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := open(t, fresh(t), Secret)
			defer closed(t, s)
			test.run(t, s)
		})
	}
	for _, test := range []struct {
		name string
		run  func(*testing.T, Database)
	}{
		{"DataOutlivesTheStoreWhereItIsDurable", reopen},
		{"AWrongSystemSecretIsRefused", wrongSecret},
		{"RotatedSecretsStillRead", rotatedSecrets},
		{"WhatIsSealedAnewNeedsNoOtherSecret", resealed},
		{"SealingAnewLosesNoWriteBesideIt", resealRace},
		{"NothingSecretIsStoredInTheClear", sealed},
		{"CloseFinishesWritesAndRefusesLaterOnes", closing},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, fresh(t)) })
	}
}

func open(t *testing.T, d Database, secrets ...string) store.Store {
	t.Helper()
	s, err := d.Open(secrets...)
	if err != nil {
		t.Fatal("open: ", err)
	}
	return s
}

func closed(t *testing.T, s store.Store) {
	t.Helper()
	check(t, s.Close())
}

// ctx ends with the test, long before the test binary's own limit.
func ctx(t *testing.T) context.Context {
	c, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return c
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// must is check for calls with a value: must(s.Rule(c, "id"))(t).
func must[T any](value T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		check(t, err)
		return value
	}
}

func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func kind(t *testing.T, what string, err error, want fault.Kind) {
	t.Helper()
	if !fault.Is(err, want) {
		t.Errorf("%s: got error %v, want one of kind %s", what, err, want)
	}
}

func spent(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, oauth2.ErrSpent) {
		t.Errorf("%s: got error %v, want ErrSpent", what, err)
	}
}

// race calls do n times at once and returns what each returned.
func race(n int, do func(i int) error) []error {
	errs := make([]error, n)
	start := make(chan struct{})
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() {
			<-start
			errs[i] = do(i)
		})
	}
	close(start)
	group.Wait()
	return errs
}

// winner returns which call of a race won; the others must have got ErrSpent.
func winner(t *testing.T, errs []error) int {
	t.Helper()
	won := -1
	for i, err := range errs {
		switch {
		case err == nil && won < 0:
			won = i
		case err == nil:
			t.Errorf("callers %d and %d both won", won, i)
		case !errors.Is(err, oauth2.ErrSpent):
			t.Errorf("a loser got %v, want ErrSpent", err)
		}
	}
	if won < 0 {
		t.Fatal("nobody won")
	}
	return won
}

// now is a time that every database stores exactly.
func now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }

func numbered(name string, i int) string { return fmt.Sprintf("%s-%03d", name, i) }
