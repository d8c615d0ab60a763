/**
 * Sets an entry as the youngest one of a map, and forgets the oldest of more than `max`: what the host says of something
 * again and again, and does not always end, is remembered within bounds.
 */
export function remember<K, V>(map: Map<K, V>, key: K, value: V, max: number): void {
  map.delete(key)
  map.set(key, value)
  if (map.size > max) {
    for (const oldest of map.keys()) {
      map.delete(oldest)
      break
    }
  }
}
