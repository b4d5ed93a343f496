// Acts: what changes something. Each is asked for once, with what it will do before it is done, and tells what happened.

class Acts {
  now = $state.raw(null)

  /**
   * @param {{
   *   title: string,
   *   does: string[],            what it will do, in sentences
   *   verb: string,              on the button
   *   bad?: boolean,             it cannot be undone
   *   reason?: true | 'wanted',  a reason is asked for, and kept; wanted: it cannot be left out
   *   typed?: string,            is to be typed before it can be done
   *   fields?: { name: string, label: string, value?: string | string[], type?: string, hint?: string, options?: string[], required?: boolean }[],
   *                            of type many: some of options
   *   list?: string[],           what it is done to
   *   act: (said: Record<string, any>) => Promise<string | { said: string, secret: string }>,   does it, and returns what happened, and what is shown once
   *   after?: () => void,
   * }} what
   */
  ask(what) {
    this.now = what
  }
}

export const acts = new Acts()
