"""The setting of a script: addresses that the test gives, a person who logs in, and operators' requests."""

import os

import requests

ISSUER, MANAGEMENT, API, PERSON, CALLBACK = (os.environ[n] for n in ("ISSUER", "MANAGEMENT", "API", "PERSON", "CALLBACK"))


def equal(got, want, what):
    if got != want:
        raise AssertionError(f"{what}: got {got!r}, want {want!r}")


def refused(what, run):
    """Runs what must fail, and returns the exception."""
    try:
        run()
    except Exception as e:
        return e
    raise AssertionError(f"{what}: must be refused")


def approve(url, browser):
    """Ada logs in and agrees; where her browser ends is returned. Browsers with the same name share cookies."""
    response = requests.get(PERSON, params={"url": url, "browser": browser})
    equal(response.status_code, 200, f"the person is stuck: {response.text}")
    return response.text


def register(**client):
    """Creates a client as an operator does."""
    response = requests.post(MANAGEMENT + "/clients", json=client)
    equal(response.status_code, 201, response.text)


def metadata():
    return requests.get(ISSUER + "/.well-known/openid-configuration").json()
