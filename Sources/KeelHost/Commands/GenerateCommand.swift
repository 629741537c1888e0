import Glibc
import KeelBridge
import KeelCore
import KeelModel
import KeelTensor
import KeelText

/// `keel generate`: continues prompts, prints each text as it is finished.
package final class GenerateCommand {
    /// Which completions of a prompt are printed, where rewards judge them.
    package enum Keep: String, CaseIterable, Sendable { case best, all }

    package struct Options: Sendable {
        /// A Hugging Face directory, or a PEFT directory that names its model.
        package var model: String
        /// One prompt as text.
        package var prompt: String?
        /// A JSONL file of prompts; `PromptReader.read(file:)` says what a line may be.
        package var promptsFile: String?
        /// A JSON list of ids.
        package var promptIDs: String?
        /// Texts are what a user says; without a prompt, a conversation.
        package var isChat = false
        /// The system message of a chat.
        package var system: String?
        /// A PEFT directory.
        package var adapter: String?
        /// A token sampler's name or path; nil draws from the model's own distribution.
        package var sampler: String?
        /// A JSON object of the sampler's parameters.
        package var samplerParams: String?
        package var temperature = 1.0
        package var maxNewTokens = 128
        package var minNewTokens = 0
        package var ignoreEOS = false
        /// More ids that end texts, as numbers or tokens.
        package var eos: [String] = []
        /// Texts that end a completion.
        package var stop: [String] = []
        package var dtype = DType.f32
        package var seed: UInt64 = 0
        /// Completions of each prompt.
        package var count = 1
        /// Completions decoded at once.
        package var batchSize = 32
        /// Tokens of the cache; nil = as many as are needed.
        package var cacheTokens: Int?
        /// A config whose rewards judge the completions.
        package var rewardsPath: String?
        /// Needs rewards.
        package var keep: Keep?
        /// JSON lines instead of text.
        package var json = false
        /// nil = all cores.
        package var threads: Int?
        /// Folders in which plugins are looked for.
        package var pluginPaths: [String] = []

        package init(model: String) { self.model = model }
    }

    let options: Options
    let model: Model
    let tokenizer: Tokenizer?
    let sampler: (any TokenSampling)?
    let reader: PromptReader
    let settings: GenerationSettings
    let stops: StopStrings?
    let judge: CompletionJudge?

    /// - Throws: `KeelError` when options do not fit together or the model cannot be loaded.
    package init(_ options: Options) throws {
        self.options = options
        try GenerateCommand.check(options)
        sampler = try GenerateCommand.sampler(options)
        let device = Device.cpu(threads: options.threads ?? Machine.cores)
        let source = try ModelSource(options.model, adapter: options.adapter)
        let folder = source.textFolder
        judge = try options.rewardsPath.map {
            try CompletionJudge($0, options, device, tokenizer: folder)
        }
        model = try source.load(dtype: options.dtype, device: device)
        let needsText = options.promptIDs == nil || !options.stop.isEmpty || judge != nil
        let hasTokenizer = Files.exists(Files.join(folder, "tokenizer.json"))
        let tokenizer =
            needsText || hasTokenizer ? try Tokenizer.load(directory: folder) : nil
        self.tokenizer = tokenizer
        reader = try PromptReader(
            directory: folder, tokenizer: tokenizer, startID: model.config.bosID,
            isChat: options.isChat, system: options.system)
        settings = try GenerateCommand.settings(options, self.model, tokenizer)
        stops = tokenizer.map { StopStrings(options.stop, $0) }
    }

    /// Generates and prints.
    ///
    /// - Parameters:
    ///   - progress: told how many completions are there.
    ///   - live: takes text as it is drawn, instead of whole lines; nil where nobody looks on.
    ///   - write: takes one line of output, without its end.
    /// - Throws: `KeelError` for prompts that cannot be read or do not fit, and what the sampler throws.
    package func run(
        progress: Progress? = nil, live: ((String) throws -> Void)? = nil,
        write: (String) throws -> Void
    ) throws {
        let items = try self.items()
        try checkFit(items)
        progress?.begin("completion", total: items.count * options.count)
        defer { progress?.end() }
        var done = 0
        if let judge {
            // Parts of the file, so that the first results do not wait for the last prompts.
            let part = max(1, CompletionJudge.rowsPerPart / options.count)
            for start in stride(from: 0, to: items.count, by: part) {
                let some = Array(items[start..<min(items.count, start + part)])
                for line in try judge.lines(
                    some, self,
                    finished: {
                        done += 1
                        progress?.step(done)
                    })
                {
                    try write(line)
                }
            }
            return
        }
        let printer = live.flatMap { live in
            stops.flatMap { stops in tokenizer.map { TextPrinter($0, stops, write: live) } }
        }
        // Finished texts wait until those before them are printed: output is in the order of the prompts.
        var waiting: [Int: Completion] = [:]
        var next = 0
        let generator = generator()
        _ = try generator.run(
            requests(items), drawn: { try printer?.drawn($0, $1) },
            finished: { i, completion in
                done += 1
                progress?.step(done)
                if let printer {
                    return try printer.finished(i, try self.text(completion) ?? "")
                }
                waiting[i] = completion
                while let ready = waiting.removeValue(forKey: next) {
                    try write(self.line(ready, items[next / self.options.count]))
                    next += 1
                }
            })
        Log.debug(generator.statistics.line)
    }

    /// Generates and prints on standard output.
    ///
    /// - Throws: `KeelError`, as `run(progress:live:write:)`.
    package static func run(_ options: Options, progress: Progress) throws -> ExitCode {
        let command = try GenerateCommand(options)
        let out = LineStream()
        let isTerminal = isatty(1) == 1
        if command.isConversation, isTerminal, isatty(0) == 1 {
            try command.converse(LineStream(), write: { try out.show($0) })
            return .ok
        }
        let isLive = isTerminal && !options.json && options.rewardsPath == nil
        try command.run(
            progress: isTerminal ? nil : progress,
            live: isLive ? { try out.show($0) } : nil,
            write: {
                try out.write($0)
                try out.flush()
            })
        return .ok
    }

    // MARK: Requests

    func generator() -> Generator {
        Generator(
            model, settings, sampler: sampler,
            ending: stops.flatMap { $0.isEmpty ? nil : $0 })
    }

    /// `count` for each prompt; a prompt's number and the completion's decide its draws.
    func requests(_ items: [PromptReader.Item]) -> [GenerationRequest] {
        items.flatMap { item in
            (0..<options.count).map {
                GenerationRequest(
                    prompt: item.ids, rowID: UInt64(item.number * options.count + $0))
            }
        }
    }

    /// The text of a completion, up to what ended it; nil without a tokenizer.
    func text(_ completion: Completion) throws -> String? {
        try tokenizer.map { try StopStrings.text(of: completion, $0) }
    }

    // MARK: Output

    private func line(_ completion: Completion, _ item: PromptReader.Item) throws -> String {
        let text = try text(completion)
        guard options.json else {
            return text ?? JSON.array(completion.ids.map { .int(Int64($0)) }).text()
        }
        return JSON.object(GenerateCommand.object(completion, text, item)).text()
    }

    /// What JSON lines say of a completion.
    static func object(
        _ completion: Completion, _ text: String?, _ item: PromptReader.Item
    ) -> JSONObject {
        var object = JSONObject()
        if let messages = item.messages {
            object["prompt"] = .array(messages)
        } else if let prompt = item.row["prompt"]?.string {
            object["prompt"] = .string(prompt)
        }
        object["prompt_ids"] = .array(completion.prompt.map { .int(Int64($0)) })
        object["completion_ids"] = .array(completion.ids.map { .int(Int64($0)) })
        let said = text.map { JSON.string($0) } ?? .null
        object["completion"] =
            item.messages == nil ? said : [["role": "assistant", "content": said]]
        object["logprobs"] = .array(completion.logprobs.map { .double(Double($0)) })
        object["finish_reason"] = .string(completion.finishReason.rawValue)
        return object
    }

    // MARK: Prompts

    /// Nobody gave a prompt: the user is asked for it.
    private var isConversation: Bool {
        options.isChat && options.prompt == nil && options.promptsFile == nil
    }

    private func items() throws -> [PromptReader.Item] {
        if let text = options.prompt { return [try reader.read(text, place: "--prompt")] }
        if let ids = options.promptIDs {
            let ids = try TokenIDs.read(JSON.parse(ids, name: "--prompt-ids"), "--prompt-ids")
            return [
                PromptReader.Item(
                    number: 0, ids: ids, row: [:], messages: nil, place: "--prompt-ids")
            ]
        }
        if let path = options.promptsFile { return try reader.read(file: path) }
        return [try reader.read(try GenerateCommand.message(LineStream()), place: "standard input")]
    }

    /// All of a stream, as one message.
    static func message(_ stream: LineStream) throws -> String {
        var lines: [String] = []
        while let line = try stream.next() { lines.append(String(decoding: line, as: UTF8.self)) }
        let text = lines.joined(separator: "\n")
        guard text.contains(where: { !$0.isWhitespace }) else {
            throw KeelError(
                "generate", "no message", at: "standard input",
                fix: "write the message to standard input, or give --prompt", code: .usage)
        }
        return text
    }

    /// Every prompt must leave room for an answer, before the first one is generated.
    private func checkFit(_ items: [PromptReader.Item]) throws {
        let long = items.filter { $0.ids.count >= model.contextLength }
        guard let first = long.first else { return }
        let others = long.count == 1 ? "" : " (and so do \(long.count - 1) other prompts)"
        throw KeelError(
            "data",
            "the prompt has \(first.ids.count) tokens, and fills the model's context of \(model.contextLength)\(others)",
            at: first.place, fix: "shorten the prompt", code: .badData)
    }
}
