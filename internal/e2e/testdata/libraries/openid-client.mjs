import * as oidc from 'openid-client'
import { ISSUER, API, CALLBACK, approve, equal, publicJWK, refused, register } from './setting.mjs'

const scope = 'openid offline_access profile'

// request begins a login and returns what the callback needs.
async function request(more = {}) {
  const pkceCodeVerifier = oidc.randomPKCECodeVerifier()
  const expectedState = oidc.randomState()
  const expectedNonce = oidc.randomNonce()
  const parameters = {
    redirect_uri: CALLBACK, scope, state: expectedState, nonce: expectedNonce,
    code_challenge: await oidc.calculatePKCECodeChallenge(pkceCodeVerifier), code_challenge_method: 'S256', ...more,
  }
  return [parameters, { pkceCodeVerifier, expectedState, expectedNonce, idTokenExpected: true }]
}

// A confidential client with a secret: every check of the library is on, signatures of ID tokens too.
await register({
  client_id: 'web', client_secret: 'a-secret-of-the-web', redirect_uris: [CALLBACK], post_logout_redirect_uris: [CALLBACK], scope: `${scope} read`,
  grant_types: ['authorization_code', 'refresh_token', 'client_credentials', 'urn:ietf:params:oauth:grant-type:device_code'],
})
for (const how of [oidc.ClientSecretBasic, oidc.ClientSecretPost]) {
  const config = await oidc.discovery(new URL(ISSUER), 'web', undefined, how('a-secret-of-the-web'), { execute: [oidc.enableNonRepudiationChecks] })
  const [parameters, checks] = await request()
  const back = await approve(oidc.buildAuthorizationUrl(config, parameters).href, how.name)
  const tokens = await oidc.authorizationCodeGrant(config, back, checks)
  equal(tokens.claims().sub, 'ada', 'the ID token')
  const user = await oidc.fetchUserInfo(config, tokens.access_token, 'ada')
  equal(user.name, 'Ada L.', 'userinfo')
  const opened = await oidc.fetchProtectedResource(config, tokens.access_token, new URL(`${API}/introspected`), 'GET')
  equal([opened.status, (await opened.json()).Header['X-User']], [200, ['ada']], 'the API')

  const fresh = await oidc.refreshTokenGrant(config, tokens.refresh_token, { scope: 'openid profile' })
  equal(fresh.scope, 'openid profile', 'a narrowed refresh')
  const told = await oidc.tokenIntrospection(config, fresh.access_token)
  equal([told.active, told.sub, told.client_id], [true, 'ada', 'web'], 'introspection')
  await oidc.tokenRevocation(config, fresh.refresh_token)
  equal((await oidc.tokenIntrospection(config, fresh.access_token)).active, false, 'after the revocation')
  const closed = await refused('a revoked token at the API', () => oidc.fetchProtectedResource(config, fresh.access_token, new URL(`${API}/introspected`), 'GET'))
  equal([closed.status, closed.cause[0].parameters.error], [401, 'invalid_token'], 'the challenge')
  equal((await refused('a code used twice', () => oidc.authorizationCodeGrant(config, back, checks))).error, 'invalid_grant', 'a code used twice')

  // The same browser is known already, and prompt=none asks nobody.
  const [quiet, quietChecks] = await request({ prompt: 'none', id_token_hint: tokens.id_token, max_age: '600' })
  const again = await oidc.authorizationCodeGrant(config, await approve(oidc.buildAuthorizationUrl(config, quiet).href, how.name), { ...quietChecks, maxAge: 600 })
  equal(again.claims().sub, 'ada', 'prompt=none')
  const [nobody, nobodyChecks] = await request({ prompt: 'none' })
  const required = await refused('prompt=none of nobody', async () => oidc.authorizationCodeGrant(config, await approve(oidc.buildAuthorizationUrl(config, nobody).href, `${how.name} of nobody`), nobodyChecks))
  equal(required.error, 'login_required', 'prompt=none of nobody')

  const left = await approve(oidc.buildEndSessionUrl(config, { id_token_hint: again.id_token, post_logout_redirect_uri: CALLBACK, state: 'bye' }).href, how.name)
  equal(left.href, `${CALLBACK}?state=bye`, 'where the logout ends')
  const [out, outChecks] = await request({ prompt: 'none' })
  equal((await refused('prompt=none after the logout', async () => oidc.authorizationCodeGrant(config, await approve(oidc.buildAuthorizationUrl(config, out).href, how.name), outChecks))).error, 'login_required', 'after the logout')

  equal((await oidc.clientCredentialsGrant(config, { scope: 'read' })).scope, 'read', 'client credentials')
  const device = await oidc.initiateDeviceAuthorization(config, { scope })
  const polling = oidc.pollDeviceAuthorizationGrant(config, { ...device, interval: 1 })
  await approve(device.verification_uri_complete, `${how.name} of the device`)
  equal((await polling).claims().sub, 'ada', 'the device')
}
const wrong = await oidc.discovery(new URL(ISSUER), 'web', undefined, oidc.ClientSecretBasic('another secret'))
equal((await refused('a wrong secret', () => oidc.clientCredentialsGrant(wrong))).cause[0]?.scheme ?? 'none', 'basic', 'the challenge of a wrong secret')

// What FAPI 2.0 asks for: a key in place of a secret, pushed and signed requests, signed responses, tokens of a key.
const keys = await oidc.randomDPoPKeyPair('ES256')
await register({
  client_id: 'fapi', redirect_uris: [CALLBACK], scope, grant_types: ['authorization_code', 'refresh_token'], token_endpoint_auth_method: 'private_key_jwt',
  jwks: { keys: [await publicJWK(keys.publicKey, 'one', 'ES256')] }, dpop_bound_access_tokens: true, require_pushed_authorization_requests: true, require_signed_request_object: true,
})
const key = { key: keys.privateKey, kid: 'one' }
for (const signedResponse of [false, true]) {
  const config = await oidc.discovery(new URL(ISSUER), 'fapi', undefined, oidc.PrivateKeyJwt(key), { execute: [oidc.enableNonRepudiationChecks, ...(signedResponse ? [oidc.useJwtResponseMode] : [])] })
  const DPoP = oidc.getDPoPHandle(config, await oidc.randomDPoPKeyPair('ES256'))
  const [parameters, checks] = await request()
  const signed = await oidc.buildAuthorizationUrlWithJAR(config, parameters, key)
  const pushed = await oidc.buildAuthorizationUrlWithPAR(config, signed.searchParams, { DPoP })
  const tokens = await oidc.authorizationCodeGrant(config, await approve(pushed.href, `fapi ${signedResponse}`), checks, undefined, { DPoP })
  equal(tokens.token_type, 'dpop', 'token_type')
  equal((await oidc.fetchUserInfo(config, tokens.access_token, 'ada', { DPoP })).sub, 'ada', 'userinfo with a proof')
  equal((await oidc.fetchProtectedResource(config, tokens.access_token, new URL(`${API}/introspected`), 'GET', undefined, undefined, { DPoP })).status, 200, 'the API with a proof')
  const stolen = await fetch(`${API}/introspected`, { headers: { authorization: `Bearer ${tokens.access_token}` } })
  equal(stolen.status, 401, 'the API without a proof')
  equal((await oidc.refreshTokenGrant(config, tokens.refresh_token, undefined, { DPoP })).token_type, 'dpop', 'a refresh with a proof')
  equal((await refused('a refresh without a proof', () => oidc.refreshTokenGrant(config, tokens.refresh_token))).error, 'invalid_dpop_proof', 'a refresh without a proof')
}

// A client that no operator knows registers itself (RFC 7591), with what the library does then.
const own = await oidc.dynamicClientRegistration(new URL(ISSUER), { redirect_uris: [CALLBACK], client_name: 'Own', scope, grant_types: ['authorization_code', 'refresh_token'] }, undefined, { execute: [oidc.enableNonRepudiationChecks] })
const [parameters, checks] = await request()
const tokens = await oidc.authorizationCodeGrant(own, await approve(oidc.buildAuthorizationUrl(own, parameters).href, 'own'), checks)
equal((await oidc.fetchUserInfo(own, tokens.access_token, 'ada')).name, 'Ada L.', 'userinfo of a client that registered itself')
equal((await oidc.refreshTokenGrant(own, tokens.refresh_token)).token_type, 'bearer', 'a refresh of a client that registered itself')
const { registration_client_uri: at, registration_access_token: token } = own.clientMetadata()
equal((await fetch(at, { method: 'DELETE', headers: { authorization: `Bearer ${token}` } })).status, 204, 'a client deletes itself')
const reserved = await refused('a grant that operators reserve', () => oidc.dynamicClientRegistration(new URL(ISSUER), { redirect_uris: [CALLBACK], grant_types: ['client_credentials'] }))
equal([reserved.status, reserved.error], [400, 'invalid_client_metadata'], 'a grant that operators reserve')
console.log('done')
