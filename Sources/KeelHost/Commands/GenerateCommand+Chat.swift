import KeelCore
import KeelModel

extension GenerateCommand {
    /// A conversation: each line is answered, and what was said before is remembered.
    ///
    /// `/reset` forgets it, `/exit` and the end of the input end it; Ctrl-C ends an answer. Where it outgrows the
    /// model's context, its oldest messages are forgotten.
    ///
    /// - Parameter write: takes pieces of text for the terminal.
    /// - Throws: `KeelError` when a message alone does not fit, and what the sampler throws.
    func converse(_ input: LineStream, write: @escaping (String) throws -> Void) throws {
        guard let tokenizer, let stops else { preconditionFailure("a chat without a tokenizer") }
        Signals.install()
        var said: [JSON] = []
        var turn: UInt64 = 0
        while true {
            try write("> ")
            guard let line = try input.next() else { return try write("\n") }
            let text = String(decoding: line, as: UTF8.self)
            switch text {
            case "": continue
            case "/exit", "/quit": return
            case "/reset":
                said = []
                continue
            default: break
            }
            said.append(["role": "user", "content": .string(text)])
            let item = try fitted(&said)
            // A signal that came while nothing was being said means nothing.
            _ = Signals.takeStopRequest()
            var answer = ""
            let printer = TextPrinter(tokenizer, stops) { piece in
                answer += piece
                try write(piece)
            }
            let done = try generator().run(
                [GenerationRequest(prompt: item.ids, rowID: turn)],
                drawn: { try printer.drawn($0, $1) },
                finished: { try printer.finished($0, try self.text($1) ?? "") },
                shouldContinue: { Signals.stopRequest == nil })
            if done[0] == nil {
                _ = Signals.takeStopRequest()
                try write("\n")
            } else if answer.hasSuffix("\n") {
                answer.removeLast()
            }
            said.append(["role": "assistant", "content": .string(answer)])
            turn += 1
        }
    }

    /// The prompt of the conversation, without the oldest messages that leave no room for an answer.
    private func fitted(_ said: inout [JSON]) throws -> PromptReader.Item {
        let system = options.system.map {
            [["role": "system", "content": .string($0)] as JSON]
        }
        while true {
            let item = try reader.read((system ?? []) + said, place: "the conversation")
            // Room for what was asked for, or at least for a quarter of the context.
            let room = min(settings.maxNewTokens, model.contextLength / 4)
            guard item.ids.count + max(1, room) > model.contextLength else { return item }
            guard said.count > 2 else {
                guard item.ids.count >= model.contextLength else { return item }
                throw KeelError(
                    "generate",
                    "the message has \(item.ids.count) tokens, and fills the model's context of \(model.contextLength)",
                    fix: "say it in fewer words", code: .badData)
            }
            said.removeFirst(2)
            Log.notice("(the conversation fills the model's context: its beginning is forgotten)")
        }
    }
}
