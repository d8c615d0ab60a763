import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    dir: 'test',
    // messages tell the time in the server's zone
    env: { TZ: 'UTC' },
    // most tests wait: for sockets, for a disk, for threads
    maxWorkers: 3,
    // a busy machine is slow, and no fault of the product
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
})
