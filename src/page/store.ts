import { useEffect, useState } from 'preact/hooks'

/** A value that several parts of the page show. */
export interface Store<T> {
  readonly get: () => T
  readonly set: (value: T) => void
  /** @returns its undo */
  readonly listen: (listener: () => unknown) => () => void
}

export function createStore<T>(value: T): Store<T> {
  const listeners = new Set<() => unknown>()
  return {
    get: () => value,
    set(next) {
      if (!Object.is(next, value)) {
        value = next
        listeners.forEach(listener => listener())
      }
    },
    listen(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
  }
}

/** The value of a store in a component, which is drawn again when it changes. */
export function useStore<T>(store: Store<T>): T {
  const [value, setValue] = useState(store.get)
  useEffect(() => {
    const update = (): void => setValue(() => store.get())
    update()
    return store.listen(update)
  }, [store])
  return value
}
