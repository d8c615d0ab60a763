declare module 'xo-common/api-errors.js' {
  /** Throws; the API's code 10. `errors` reaches the caller as `data.errors`. */
  export function invalidParameters(message: string, errors: readonly unknown[]): never
}
