import type { Answer } from '../courier.ts'
import type { Answers, Order, Question, Reply } from './protocol.ts'

/** Deaths of the delivery side that a question outlives. */
const MAX_DEATHS = 1

interface Open {
  readonly question: Question
  /** The delivery side of today has it. */
  isPosted: boolean
  deaths: number
  readonly resolve: (value: Answers[Question['name']]) => void
  readonly reject: (error: Error) => void
}

export interface Asked<Value> {
  readonly number: number
  /** Rejects if none comes: the delivery side has died twice over the question, could not answer it, or was closed. */
  readonly answer: Promise<Value>
}

/** Questions to the delivery side that are not answered yet. */
export class Questions {
  readonly #open = new Map<number, Open>()
  #lastNumber = 0

  ask<Q extends Question>(question: Q): Asked<Answers[Q['name']]> {
    const number = ++this.#lastNumber
    const answer = new Promise<Answers[Question['name']]>((resolve, reject) => {
      this.#open.set(number, { question, isPosted: false, deaths: 0, resolve, reject })
    })
    // each name has an answer of its own kind
    return { number, answer: answer as Promise<Answers[Q['name']]> }
  }

  /** The order that asks it; `undefined`: it is not open any more. */
  orderOf(number: number): Order | undefined {
    const open = this.#open.get(number)
    if (open === undefined) {
      return undefined
    }
    open.isPosted = true
    return { type: 'question', number, question: open.question }
  }

  /** Those that a new delivery side has to be asked, but for what an `ask` wants to know of its handing. */
  recall(): number[] {
    return [...this.#open].flatMap(([number, { question }]) => (question.name === 'ask' ? [] : number))
  }

  answer(reply: Reply): void {
    const open = this.#open.get(reply.number)
    if (open === undefined) {
      return
    }
    this.#open.delete(reply.number)
    if ('problem' in reply) {
      open.reject(new Error(`the delivery side could not answer: ${reply.problem}`))
    } else {
      open.resolve(restored(open.question, reply.value))
    }
  }

  /**
   * The delivery side has died, or could not be started. Who waits for the first attempts of a `pre` is not kept waiting;
   * every other question is put once more to the delivery side that takes its place.
   */
  outlive(): void {
    for (const [number, open] of this.#open) {
      const isOver = open.question.name === 'ask' || ++open.deaths > MAX_DEATHS
      open.isPosted = false
      if (isOver) {
        this.giveUp(number, 'the delivery side has died over it')
      }
    }
  }

  giveUp(number: number, reason: string): void {
    this.#open.get(number)?.reject(new Error(`no answer: ${reason}`))
    this.#open.delete(number)
  }

  giveUpAll(reason: string): void {
    for (const number of this.#open.keys()) {
      this.giveUp(number, reason)
    }
  }
}

/** A message between threads makes bytes of a buffer. */
function restored(question: Question, value: Answers[Question['name']]): Answers[Question['name']] {
  if (question.name !== 'ask' && question.name !== 'probe') {
    return value
  }
  return (value as readonly Answer[]).map(answer => {
    const { hook, attempt } = answer
    if (attempt === undefined || attempt.outcome.kind !== 'answered') {
      return answer
    }
    const { outcome } = attempt
    const { buffer, byteOffset, length } = outcome.excerpt
    return { hook, attempt: { ...attempt, outcome: { ...outcome, excerpt: Buffer.from(buffer, byteOffset, length) } } }
  })
}
