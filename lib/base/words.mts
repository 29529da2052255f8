import { closestMatch } from 'leven'

/** `1 host`, `2 hosts`. */
export const plural = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? '' : 's'}`

/** The candidate that the word was probably meant to be, or undefined if none is near (a third of its letters). */
export const closest = (word: string, candidates: string[]): string | undefined =>
  closestMatch(word, candidates, { maxDistance: Math.max(1, Math.ceil(word.length / 3)) })
