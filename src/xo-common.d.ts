declare module 'xo-common/api-errors.js' {
  /** Throws; the API's code 10. `errors` reaches the caller as `data.errors`. */
  export function invalidParameters(message: string, errors: readonly unknown[]): never

  /** Throws; the API's code 5, status 403 in the REST API. Both reach the caller in `data`, `operation` in the message too. */
  export function forbiddenOperation(operation: string, reason: string): never
  /** Throws; the API's code 1, REST's 404. */
  export function noSuchObject(id: string, type: string): never
  /** Throws; the API's code 16, REST's 409. */
  export function objectAlreadyExists(about: { objectId: string; objectType: string }): never

  /** Throws; the API's code 25, REST's 409. */
  export function incorrectState(about: { actual: string; expected: string; object: string; property: string }): never
}
