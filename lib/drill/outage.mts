/** One request of the traffic. Times are milliseconds of one clock. */
export type Sample = {
  endpoint: string
  sent: number
  ended: number
  /** Why it failed, or '' where it was answered well. */
  why: string
}

/** What requests of one kind met in a stretch of time. Times are seconds. */
export type Tally = {
  requests: number
  failed: number
  /** The longest time without a good answer, at any one endpoint. 0 where no request failed. */
  outage: number
  /** The slowest good answer. */
  slowest: number
  /** How many failed for which reason. */
  why: Record<string, number>
}

/** A stretch of time. A request belongs to it when it was sent in it, however long its answer took. */
export type Period = { from: number; to: number }

/** Counts the requests of a period, and finds the longest time that an endpoint did not answer. */
export const tally = (samples: Sample[], period: Period): Tally => {
  const within = samples.filter(({ sent }) => sent >= period.from && sent <= period.to)
  const failed = within.filter(({ why }) => why !== '')
  const good = within.filter(({ why }) => why === '')
  const endpoints = Map.groupBy(within, ({ endpoint }) => endpoint)
  const why: Record<string, number> = {}
  for (const sample of failed) why[sample.why] = (why[sample.why] ?? 0) + 1
  return {
    requests: within.length,
    failed: failed.length,
    outage: largest([...endpoints.values()].map((some) => longestOutage(some, period))) / 1000,
    slowest: largest(good.map(({ sent, ended }) => ended - sent)) / 1000,
    why
  }
}

// An outage begins when the last request is sent that is still answered well. It ends with the first good answer to a
// request that was sent after the failures: a server that lets a request wait until it is up again is away until then.
// That is at most one interval and one answer too long, and never too short.
const longestOutage = (samples: Sample[], { from, to }: Period): number => {
  const sorted = samples.toSorted((a, b) => a.sent - b.sent)
  let longest = 0
  let began = from
  for (const [index, { sent, why }] of sorted.entries()) {
    if (why === '') began = sent
    else longest = Math.max(longest, firstGood(sorted, index + 1, to) - began)
  }
  return longest
}

// A request that was sent a little later may have been answered first.
const firstGood = (sorted: Sample[], from: number, to: number): number => {
  let first = to
  for (let at = from; at < sorted.length && sorted[at]!.sent < first; at++) {
    if (sorted[at]!.why === '') first = Math.min(first, sorted[at]!.ended)
  }
  return first
}

const largest = (numbers: number[]): number => numbers.reduce((most, number) => Math.max(most, number), 0)
