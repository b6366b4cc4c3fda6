// The setting of a script: addresses that the test gives, a person who logs in, and operators' requests.
import { webcrypto } from 'node:crypto'

globalThis.crypto ??= webcrypto // which Node 18 has, and not as a global
globalThis.CryptoKey ??= webcrypto.CryptoKey

export const { ISSUER, MANAGEMENT, API, PERSON, CALLBACK } = process.env

export function equal(got, want, what) {
  if (JSON.stringify(got) !== JSON.stringify(want)) throw new Error(`${what}: got ${JSON.stringify(got)}, want ${JSON.stringify(want)}`)
}

// refused runs what must fail, and returns the error.
export async function refused(what, run) {
  try {
    await run()
  } catch (error) {
    return error
  }
  throw new Error(`${what}: must be refused`)
}

// approve is ada, who logs in and agrees; where her browser ends is answered. Browsers with the same name share cookies.
export async function approve(url, browser) {
  const response = await fetch(`${PERSON}?${new URLSearchParams({ url, browser })}`)
  if (!response.ok) throw new Error(`the person is stuck: ${await response.text()}`)
  return new URL(await response.text())
}

// register creates a client as an operator does.
export async function register(client) {
  const response = await fetch(`${MANAGEMENT}/clients`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(client) })
  if (response.status !== 201) throw new Error(`${response.status} ${await response.text()}`)
}

export async function publicJWK(key, kid, alg) {
  return { ...(await crypto.subtle.exportKey('jwk', key)), kid, alg, use: 'sig', key_ops: undefined, ext: undefined }
}
