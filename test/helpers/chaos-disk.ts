import { Journal } from '../../src/delivery/journal.ts'

/**
 * How the disk is. `failing late`: what is written is there, but the disk says that it failed. `hanging`: nothing ends
 * until it is otherwise.
 */
export type DiskMood = 'well' | 'failing' | 'failing late' | 'hanging'

/** A journal in real files, on a disk that does as it is told. */
export class ChaosDisk {
  readonly #directory: string
  #mood: DiskMood = 'well'
  #waiting: (() => void)[] = []

  constructor(directory: string) {
    this.#directory = directory
  }

  get mood(): DiskMood {
    return this.#mood
  }

  set mood(mood: DiskMood) {
    this.#mood = mood
    if (mood !== 'hanging') {
      this.#waiting.splice(0).forEach(goOn => goOn())
    }
  }

  async open(isAlive: () => void): ReturnType<typeof Journal.open> {
    await this.#meet()
    const opened = await Journal.open(this.#directory, isAlive)
    const { journal } = opened
    const { write, read } = journal
    journal.write = async batch => {
      await this.#meet()
      await write.call(journal, batch)
      if (this.#mood === 'failing late') {
        throw failure()
      }
    }
    journal.read = async number => {
      await this.#meet()
      return read.call(journal, number)
    }
    return opened
  }

  /** @throws if it is failing */
  async #meet(): Promise<void> {
    while (this.#mood === 'hanging') {
      await new Promise<void>(resolve => this.#waiting.push(resolve))
    }
    if (this.#mood === 'failing') {
      throw failure()
    }
  }
}

function failure(): Error {
  return Object.assign(new Error('the disk is made to fail'), { code: 'EIO' })
}
