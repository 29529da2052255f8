import { homedir } from 'node:os'
import { join, resolve } from 'node:path'

/** The label of everything that the lab makes in Docker, and all that `down` goes by. */
export const label = { 'io.keybuzz.lab': 'keybuzz' }
export const labelFilter = ['io.keybuzz.lab=keybuzz']

/** The project's folder. */
export const project = resolve(import.meta.dirname, '../..')

/** Where the lab keeps what is costly to make: builds, releases, keys. Outside the project; `down` leaves it. */
export const cache = join(process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'keybuzz-lab')
