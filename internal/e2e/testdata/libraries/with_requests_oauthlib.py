import base64
import hashlib
import secrets

from oauthlib.oauth2 import BackendApplicationClient, LegacyApplicationClient, OAuth2Error
from requests.auth import HTTPBasicAuth
from requests_oauthlib import OAuth2Session

from setting import API, CALLBACK, approve, equal, metadata, refused, register

server = metadata()
scope = ["openid", "offline_access", "profile"]
register(client_id="web", client_secret="a-secret-of-the-web", redirect_uris=[CALLBACK], scope=" ".join(scope), grant_types=["authorization_code", "refresh_token", "client_credentials"])


def login(browser, **more):
    web = OAuth2Session("web", redirect_uri=CALLBACK, scope=scope)
    verifier = secrets.token_urlsafe(48)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    url, _ = web.authorization_url(server["authorization_endpoint"], code_challenge=challenge, code_challenge_method="S256")
    back = approve(url, browser)
    return web, lambda: web.fetch_token(server["token_endpoint"], authorization_response=back, code_verifier=verifier, **more)


# The library sends the secret in the header by default, and in the form on request.
for how in ({"client_secret": "a-secret-of-the-web"}, {"client_secret": "a-secret-of-the-web", "include_client_id": True}, {"auth": HTTPBasicAuth("web", "a-secret-of-the-web")}):
    web, fetch = login(str(how), **how)
    token = fetch()
    equal(sorted(token["scope"]), sorted(scope), "the scope")
    equal(web.get(API + "/introspected").json()["Header"]["X-User"], ["ada"], "the API")
    equal(web.get(server["userinfo_endpoint"]).json()["name"], "Ada L.", "userinfo")
    equal(type(refused("a code used twice", fetch)).__name__, "InvalidGrantError", "a code used twice")

# An expired token is refreshed on the way, and the new refresh token is kept. (Reuse of the code ended the tokens above.)
web, fetch = login("refresh", client_secret="a-secret-of-the-web")
kept = dict(fetch(), expires_in=-1, expires_at=1)
saved = []
again = OAuth2Session("web", token=kept, auto_refresh_url=server["token_endpoint"], auto_refresh_kwargs={"client_id": "web", "client_secret": "a-secret-of-the-web"}, token_updater=saved.append)
equal(again.get(API + "/introspected").status_code, 200, "the API after a refresh")
equal((len(saved), saved[0]["refresh_token"] != kept["refresh_token"]), (1, True), "a new refresh token")
equal(type(refused("an old refresh token", lambda: again.refresh_token(server["token_endpoint"], kept["refresh_token"]))).__name__, "InvalidGrantError", "reuse")
equal(again.get(API + "/introspected").status_code, 401, "the API after the reuse")

machine = OAuth2Session(client=BackendApplicationClient("web"))
equal(machine.fetch_token(server["token_endpoint"], client_id="web", client_secret="a-secret-of-the-web", scope="profile")["token_type"], "bearer", "client credentials")
equal(machine.get(API + "/introspected").json()["Header"]["X-User"], ["web"], "the API for a machine")
refusal = refused("a wrong secret", lambda: machine.fetch_token(server["token_endpoint"], client_id="web", client_secret="another"))
equal(type(refusal).__name__, "InvalidClientError", "a wrong secret")
equal(isinstance(refused("passwords", lambda: OAuth2Session(client=LegacyApplicationClient("web")).fetch_token(server["token_endpoint"], username="ada", password="correct-horse", client_id="web", client_secret="a-secret-of-the-web")), OAuth2Error), True, "passwords of people are not taken")
print("done")
