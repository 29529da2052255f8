/** Resources of a container as placeholders of a manifest: CPUS, MEMORY, MOST_MEMORY, with a prefix. */
export const resourceValues = (
  { cpus, memory, most_memory }: { cpus: number; memory: number; most_memory: number },
  prefix = ''
): Record<string, string | number> => ({ [`${prefix}CPUS`]: cpus, [`${prefix}MEMORY`]: memory, [`${prefix}MOST_MEMORY`]: most_memory })

/** What JSON allows in a text, and YAML refuses or takes for the end of a line. */
const UNPRINTED = /[\u007f-\u009f\u2028\u2029\ufeff\ufffe\uffff]/g

/** Text as a value of YAML: in double quotes, as JSON. */
export const inYaml = (value: unknown): string =>
  JSON.stringify(value).replaceAll(UNPRINTED, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`)
