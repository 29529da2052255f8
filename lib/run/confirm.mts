import { confirm, input } from '@inquirer/prompts'
import { UsageError } from '../base/errors.mts'
import { misuse } from './flags.mts'

/** True where somebody can be asked. */
export const hasTerminal = (): boolean => process.stdin.isTTY === true && process.stderr.isTTY === true

/** Throws a UsageError where there is no terminal to confirm a flag. */
export const needTerminal = (flag: string): void => {
  if (hasTerminal()) return
  throw new UsageError([misuse(flag, 'a terminal, for it must be confirmed', 'Run it at a terminal.')])
}

/** Asks with yes or no; no by default. */
export const agreed = (question: string): Promise<boolean> =>
  confirm({ message: question, default: false }, { output: process.stderr })

/** Goes on only after this word was typed. For questions that --yes must not answer. ctrl-C is the other answer. */
export const typed = async (word: string, message: string): Promise<void> => {
  await input({
    message: `${message} Type "${word}" to go on:`,
    validate: (answer) => answer === word || `Type ${word}, or press ctrl-C.`
  }, { output: process.stderr })
}
