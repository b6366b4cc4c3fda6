import * as oauth from 'oauth4webapi'
import { ISSUER, API, CALLBACK, approve, equal, publicJWK, register } from './setting.mjs'

const as = await oauth.processDiscoveryResponse(new URL(ISSUER), await oauth.discoveryRequest(new URL(ISSUER)))
const oauth2 = await oauth.processDiscoveryResponse(new URL(ISSUER), await oauth.discoveryRequest(new URL(ISSUER), { algorithm: 'oauth2' }))
equal([oauth2.token_endpoint, oauth2.authorization_endpoint], [as.token_endpoint, as.authorization_endpoint], 'RFC 8414 beside OpenID Connect Discovery')

// A public client in a browser: JWT access tokens of a key, with a nonce of the server where it asks for one.
await register({ client_id: 'spa', redirect_uris: [CALLBACK], scope: 'openid offline_access read', grant_types: ['authorization_code', 'refresh_token'], token_endpoint_auth_method: 'none', access_token_strategy: 'jwt', audience: [API] })
const spa = { client_id: 'spa' }
const proofs = await oauth.generateKeyPair('ES256')
const DPoP = oauth.DPoP(spa, proofs)
const verifier = oauth.generateRandomCodeVerifier()
const nonce = oauth.generateRandomNonce()
const ask = new URL(as.authorization_endpoint)
for (const [name, value] of Object.entries({
  client_id: 'spa', redirect_uri: CALLBACK, response_type: 'code', scope: 'openid offline_access read', nonce, resource: API,
  code_challenge: await oauth.calculatePKCECodeChallenge(verifier), code_challenge_method: 'S256', dpop_jkt: await DPoP.calculateThumbprint(),
})) ask.searchParams.set(name, value)
const back = oauth.validateAuthResponse(as, spa, await approve(ask.href, 'spa'), oauth.expectNoState)

// retried sends a request again when the server wants a nonce in the proof.
async function retried(send, process) {
  try {
    return await process(await send())
  } catch (error) {
    if (!oauth.isDPoPNonceError(error)) throw error
    return process(await send())
  }
}
const tokens = await retried(
  () => oauth.authorizationCodeGrantRequest(as, spa, oauth.None(), back, CALLBACK, verifier, { DPoP }),
  (response) => oauth.processAuthorizationCodeResponse(as, spa, response, { expectedNonce: nonce, requireIdToken: true }),
)
const opened = await oauth.protectedResourceRequest(tokens.access_token, 'GET', new URL(`${API}/verified`), undefined, undefined, { DPoP })
equal([opened.status, (await opened.json()).Header['X-User']], [200, ['ada']], 'the API')

// The library plays an API of its own, too (RFC 9068, RFC 9449 section 7).
const url = `${API}/verified`
const proof = await captured(tokens.access_token, url)
const claims = await oauth.validateJwtAccessToken(as, new Request(url, { headers: { authorization: `DPoP ${tokens.access_token}`, dpop: proof } }), API, { requireDPoP: true })
equal([claims.sub, claims.client_id, claims.scope], ['ada', 'spa', 'openid offline_access read'], 'the access token')

async function captured(token, url) {
  let proof
  await oauth.protectedResourceRequest(token, 'GET', new URL(url), undefined, undefined, { DPoP, [oauth.customFetch]: async (_, { headers }) => ((proof = new Headers(headers).get('dpop')), new Response()) })
  return proof
}

const refreshed = await retried(
  () => oauth.refreshTokenGrantRequest(as, spa, oauth.None(), tokens.refresh_token, { DPoP }),
  (response) => oauth.processRefreshTokenResponse(as, spa, response),
)
equal(refreshed.token_type, 'dpop', 'a refresh')
equal((await oauth.revocationRequest(as, spa, oauth.None(), refreshed.refresh_token)).status, 200, 'a revocation')

// An API that asks about tokens and gets signed answers (RFC 9701).
const keys = await oauth.generateKeyPair('ES256')
await register({ client_id: API, scope: 'read', grant_types: ['client_credentials'], token_endpoint_auth_method: 'private_key_jwt', jwks: { keys: [await publicJWK(keys.publicKey, 'one', 'ES256')] }, introspection_signed_response_alg: 'ES256', audience: [API] })
const api = { client_id: API, introspection_signed_response_alg: 'ES256' }
const auth = oauth.PrivateKeyJwt({ key: keys.privateKey, kid: 'one' })
const granted = await oauth.processClientCredentialsResponse(as, api, await oauth.clientCredentialsGrantRequest(as, api, auth, { scope: 'read' }))
const asked = await oauth.introspectionRequest(as, api, auth, granted.access_token, { requestJwtResponse: true })
equal(asked.headers.get('content-type'), 'application/token-introspection+jwt', 'the type of the answer')
const told = await oauth.processIntrospectionResponse(as, api, asked)
await oauth.validateApplicationLevelSignature(as, asked)
equal([told.active, told.scope, told.client_id], [true, 'read', API], 'a signed introspection')
equal((await oauth.processIntrospectionResponse(as, api, await oauth.introspectionRequest(as, api, auth, 'gw_at_nothing', { requestJwtResponse: true }))).active, false, 'a token that is none')
console.log('done')
