/** What deliveries can be narrowed down to: the parameters of the operation `getDeliveries`, by their names. */
export const FILTERS = ['status', 'hook', 'endpoint', 'method', 'call', 'object', 'answer', 'from', 'to'] as const

export type Filters = { readonly [name in (typeof FILTERS)[number]]?: string }

export const VIEWS = ['overview', 'deliveries', 'calls', 'hooks', 'events', 'endpoints'] as const

export type View = (typeof VIEWS)[number]

/** Where in the page one is. All of it stands in the hash, so that it can be mailed, and the browser's Back works. */
export interface Place {
  readonly view: View
  /** Of the one delivery, call, hook or endpoint that is looked at. */
  readonly id?: string
  /** Of the list. Names that are not known are left out. */
  readonly query: Readonly<Record<string, string>>
}

/** Example: `#/deliveries/8d6a3a61-0?status=dead`. What cannot be read leads to the overview. */
export function placeOf(hash: string): Place {
  const [path = '', search = ''] = hash.replace(/^#?\/?/, '').split('?', 2)
  const [first = '', ...rest] = path.split('/')
  const view = VIEWS.find(each => each === first) ?? 'overview'
  const id = decoded(rest.join('/'))
  const query: Record<string, string> = {}
  for (const [name, value] of new URLSearchParams(search)) {
    if (value !== '') {
      query[name] = value
    }
  }
  return { view, ...(id !== '' && { id }), query }
}

/** The hash of a place: what {@link placeOf} reads. */
export function hashOf({ view, id, query }: { view: View; id?: string | undefined; query?: Place['query'] }): string {
  const path = view === 'overview' ? '' : id === undefined ? view : `${view}/${encodeURIComponent(id)}`
  const search = new URLSearchParams(Object.entries(query ?? {}).filter(([, value]) => value !== '')).toString()
  return `#/${path}${search === '' ? '' : `?${search}`}`
}

export function filtersOf(query: Place['query']): Filters {
  return Object.fromEntries(FILTERS.flatMap(name => (query[name] === undefined ? [] : [[name, query[name]]])))
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return ''
  }
}
