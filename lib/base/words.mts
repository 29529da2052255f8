import { closestMatch } from 'leven'

/** `1 host`, `2 hosts`. */
export const plural = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? '' : 's'}`

/**
 * Text from elsewhere (a node, the API, a file) as it may be shown: what would move a terminal's cursor, change its title or
 * turn the direction of writing is `?`. Line breaks and tabs stay.
 */
export const printable = (text: string): string => text.replace(/[^\P{C}\n\t]/gu, '?')

/** The candidate that was probably meant, or undefined if none is near (a third of the letters). */
export const closest = (word: string, candidates: string[]): string | undefined =>
  closestMatch(word, candidates, { maxDistance: Math.max(1, Math.ceil(word.length / 3)) })

/** Seconds that something took: `4.2 s`, `2 min 5 s`. */
export const duration = (seconds: number): string =>
  seconds < 60 ? `${seconds.toFixed(1)} s` : `${Math.floor(Math.round(seconds) / 60)} min ${Math.round(seconds) % 60} s`

/** Seconds since something happened, in full units: `12 s`, `4 min`, `2 h`. */
export const age = (seconds: number): string => {
  if (seconds < 60) return `${Math.floor(seconds)} s`
  return seconds < 3600 ? `${Math.floor(seconds / 60)} min` : `${Math.floor(seconds / 3600)} h`
}

/** A time in milliseconds, without the unit, as tables and ranges want it: `1.3`, `12`. */
export const milliseconds = (time: number): string => time.toFixed(time < 10 ? 1 : 0)

/** Bytes in units of 10^6, as files and downloads are counted: `300 MB`. */
export const megabytes = (bytes: number): string => `${Math.round(bytes / 1e6)} MB`

/** Bytes in units of 2^20, as memory and etcd's quota are counted: `2048 MiB`. */
export const mebibytes = (bytes: number): string => `${Math.round(bytes / 2 ** 20)} MiB`
