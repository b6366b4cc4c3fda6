import requests
from authlib.integrations.requests_client import OAuth2Session
from authlib.jose import JsonWebKey, JsonWebToken
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from authlib.oidc.core import CodeIDToken

from setting import API, CALLBACK, ISSUER, approve, equal, metadata, refused, register

server = metadata()
key = JsonWebKey.generate_key("EC", "P-256", {"kid": "one", "alg": "ES256", "use": "sig"}, is_private=True)
register(client_id="signer", redirect_uris=[CALLBACK], scope="openid offline_access profile", grant_types=["authorization_code", "refresh_token", "client_credentials"],
         token_endpoint_auth_method="private_key_jwt", jwks={"keys": [key.as_dict(is_private=False)]})
register(client_id="web", client_secret="a-secret-of-the-web", redirect_uris=[CALLBACK], scope="openid offline_access profile", grant_types=["authorization_code", "refresh_token", "client_credentials"])


def sessions():
    yield "web basic", OAuth2Session("web", "a-secret-of-the-web", scope="openid offline_access profile", redirect_uri=CALLBACK, code_challenge_method="S256")
    yield "web post", OAuth2Session("web", "a-secret-of-the-web", scope="openid offline_access profile", redirect_uri=CALLBACK, code_challenge_method="S256",
                                    token_endpoint_auth_method="client_secret_post", revocation_endpoint_auth_method="client_secret_post")
    signer = OAuth2Session("signer", key, scope="openid offline_access profile", redirect_uri=CALLBACK, code_challenge_method="S256", token_endpoint_auth_method="private_key_jwt", revocation_endpoint_auth_method="private_key_jwt")
    # The server takes assertions that are meant for its issuer, as FAPI 2.0 wants it.
    signer.register_client_auth_method(PrivateKeyJWT(ISSUER, headers={"kid": "one"}, alg="ES256"))
    yield "signer", signer


for name, session in sessions():
    verifier = "a-verifier-of-more-than-forty-three-letters-of-" + name.replace(" ", "-")
    url, state = session.create_authorization_url(server["authorization_endpoint"], code_verifier=verifier, nonce="n-" + name)
    token = session.fetch_token(server["token_endpoint"], authorization_response=approve(url, name), state=state, code_verifier=verifier)
    claims = JsonWebToken(["RS256", "ES256"]).decode(token["id_token"], JsonWebKey.import_key_set(requests.get(server["jwks_uri"]).json()), claims_cls=CodeIDToken,
                                                     claims_options={"iss": {"values": [ISSUER]}, "aud": {"values": [session.client_id]}}, claims_params={"nonce": "n-" + name, "client_id": session.client_id, "access_token": token["access_token"]})
    claims.validate(leeway=10)
    equal(claims["sub"], "ada", name + ": the ID token")
    equal(session.get(API + "/introspected").json()["Header"]["X-User"], ["ada"], name + ": the API")
    fresh = session.refresh_token(server["token_endpoint"], token["refresh_token"])
    equal(fresh["refresh_token"] != token["refresh_token"], True, name + ": a new refresh token")
    equal(session.introspect_token(server["introspection_endpoint"], fresh["access_token"], "access_token").json()["active"], True, name + ": introspection")
    equal(session.revoke_token(server["revocation_endpoint"], fresh["refresh_token"], "refresh_token").status_code, 200, name + ": revocation")
    equal(session.introspect_token(server["introspection_endpoint"], fresh["access_token"], "access_token").json(), {"active": False}, name + ": after the revocation")
    equal(session.fetch_token(server["token_endpoint"], grant_type="client_credentials", scope="profile")["scope"], "profile", name + ": client credentials")

stranger = OAuth2Session("web", "another", token_endpoint_auth_method="client_secret_basic")
equal(getattr(refused("a wrong secret", lambda: stranger.fetch_token(server["token_endpoint"], grant_type="client_credentials")), "error", ""), "invalid_client", "a wrong secret")
print("done")
