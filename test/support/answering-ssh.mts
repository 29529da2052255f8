import type { Host } from '../../lib/input/inventory.mts'
import { lastWords, type Result, type Ssh } from '../../lib/reach/ssh.mts'

type Asked = { script: string; host: string; seconds: number | undefined }

/** What a test answers: what the script printed, or more of its result. An error that it throws is the way's own. */
type Answer = string | Partial<Result>

/** A way to the nodes that a test answers for: it gets each script with the name of its host. `asked` has all of them. */
export const answeringSsh = (answer: (script: string, host: Host) => Answer | Promise<Answer>): Ssh & { asked: Asked[] } => {
  const asked: Asked[] = []
  const run: Ssh['run'] = async (host, script, { timeout } = {}) => {
    asked.push({ script, host: host.name, seconds: timeout })
    const said = await answer(script, host)
    return { stdout: '', stderr: '', exitCode: 0, ...(typeof said === 'string' ? { stdout: said } : said) }
  }
  return {
    asked,
    run,
    capture: async (host, script, options) => {
      const result = await run(host, script, options)
      if (result.exitCode !== 0) throw new Error(lastWords(result))
      return result.stdout
    },
    push: async (host, file, { path, mode, sha256 }) => {
      await answer(`push ${file} to ${path} ${mode} ${sha256}`, host)
    },
    traffic: { connections: 0, commands: 0 }
  }
}
