declare module '@xen-orchestra/log/configure' {
  export interface LogEntry {
    readonly data: unknown
    readonly level: number
    readonly message: string
    readonly namespace: string
  }

  /** Where everything goes from now on that is logged in this process. */
  export function configure(transport: (entry: LogEntry) => void): void
}
