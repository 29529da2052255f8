import { bastionStart, type Result } from '../test/lab/nodes.mts'

/** Runs a program in the bastion to its end. An interruption is passed on to it, and thrown once it has ended. */
export const runInBastion = async (argv: string[], signal: AbortSignal): Promise<Result> => {
  signal.throwIfAborted()
  const running = await bastionStart(argv)
  const stop = (): void => void running.kill('TERM').catch(() => {})
  signal.addEventListener('abort', stop, { once: true })
  if (signal.aborted) stop()
  try {
    const result = await running.done
    signal.throwIfAborted()
    return result
  } finally {
    signal.removeEventListener('abort', stop)
  }
}
