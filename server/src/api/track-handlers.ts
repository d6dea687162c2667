import type { FastifyInstance } from 'fastify';

/** Tells the app of work that its close must wait for. */
export type Track = (work: Promise<unknown>) => void;

/**
 * Makes a close wait for handlers and for other tracked work. Handlers may still run after their
 * callers have gone away, and they need the database until they end. Call it before routes are
 * added.
 */
export function trackHandlers(app: FastifyInstance): Track {
  let running = 0;
  let whenIdle: (() => void) | undefined;
  const ended = (): void => {
    running--;
    if (running === 0) whenIdle?.();
  };
  function track(work: Promise<unknown>): void {
    running++;
    work.then(ended, ended);
  }
  app.addHook('onRoute', (route) => {
    const { handler } = route;
    route.handler = function tracked(request, reply) {
      const result: unknown = handler.call(this, request, reply);
      if (result instanceof Promise) track(result);
      return result;
    };
  });
  app.addHook('onClose', async () => {
    // Again and again, since one leads to another: a handler, then the storing of its answer.
    while (running > 0) {
      await new Promise<void>((resolve) => {
        whenIdle = () => setImmediate(resolve);
      });
    }
  });
  return track;
}
