import KeelCore
import KeelModel
import KeelTensor
import KeelText

/// `keel generate`: continues prompts, prints each text as it is finished.
package final class GenerateCommand {
    package struct Options: Sendable {
        /// A Hugging Face directory.
        package var model: String
        /// One prompt as text.
        package var prompt: String?
        /// A JSONL file of prompts: strings, or objects with `prompt` or `prompt_ids`.
        package var promptsFile: String?
        /// A JSON list of ids.
        package var promptIDs: String?
        /// A PEFT directory.
        package var adapter: String?
        /// A token sampler's name or path; nil draws from the model's own distribution.
        package var sampler: String?
        /// A JSON object of the sampler's parameters.
        package var samplerParams: String?
        package var temperature = 1.0
        package var maxNewTokens = 128
        package var ignoreEOS = false
        package var dtype = DType.f32
        package var seed: UInt64 = 0
        /// Completions of each prompt.
        package var count = 1
        /// JSON lines instead of text.
        package var json = false
        /// nil = all cores.
        package var threads: Int?
        /// Folders in which the sampler is looked for.
        package var pluginPaths: [String] = []

        package init(model: String) { self.model = model }
    }

    private let options: Options
    private let model: Model
    private let tokenizer: Tokenizer?
    private let sampler: (any TokenSampling)?

    /// - Throws: `KeelError` when options do not fit together or the model cannot be loaded.
    package init(_ options: Options) throws {
        self.options = options
        let sources = [options.prompt, options.promptsFile, options.promptIDs].compactMap { $0 }
            .count
        guard sources == 1 else {
            throw KeelError(
                "usage", sources == 0 ? "no prompt" : "several kinds of prompts",
                fix: "give one of --prompt, --prompts, --prompt-ids", code: .usage)
        }
        guard options.maxNewTokens >= 1, options.count >= 1 else {
            throw KeelError(
                "usage", "--max-new-tokens \(options.maxNewTokens), --n \(options.count)",
                fix: "both must be 1 or more", code: .usage)
        }
        sampler = try GenerateCommand.sampler(options)
        let model = try Model.load(
            directory: options.model, dtype: options.dtype,
            device: .cpu(threads: options.threads ?? Machine.cores))
        self.model = try options.adapter.map { try model.adapted(directory: $0) } ?? model
        let needsText = options.promptIDs == nil
        let hasTokenizer = Files.exists(Files.join(options.model, "tokenizer.json"))
        tokenizer = needsText || hasTokenizer ? try Tokenizer.load(directory: options.model) : nil
    }

    /// Generates and prints.
    ///
    /// - Parameter write: takes one line of output, without its end.
    /// - Throws: `KeelError` for prompts that cannot be read or do not fit, and what the sampler throws.
    package func run(write: (String) throws -> Void) throws {
        let prompts = try self.prompts()
        var requests: [GenerationRequest] = []
        for (i, prompt) in prompts.enumerated() {
            for k in 0..<options.count {
                requests.append(
                    GenerationRequest(prompt: prompt, rowID: UInt64(i * options.count + k)))
            }
        }
        var settings = GenerationSettings(
            maxNewTokens: options.maxNewTokens, eosIDs: options.ignoreEOS ? [] : model.eosIDs)
        settings.temperature = options.temperature
        settings.seed = options.seed
        // Finished texts wait until those before them are printed: output is in the order of the prompts.
        var waiting: [Int: Completion] = [:]
        var next = 0
        _ = try Generator(model, settings, sampler: sampler).run(
            requests,
            finished: { i, completion in
                waiting[i] = completion
                while let ready = waiting.removeValue(forKey: next) {
                    try write(self.line(ready))
                    next += 1
                }
            })
    }

    /// Generates and prints on standard output.
    ///
    /// - Throws: `KeelError`, as `run(write:)`.
    package static func run(_ options: Options) throws -> ExitCode {
        try GenerateCommand(options).run { line in
            print(line)
        }
        return .ok
    }

    private func line(_ completion: Completion) throws -> String {
        let text = try tokenizer?.decode(completion.ids, skipSpecial: true)
        guard options.json else {
            return text ?? JSON.array(completion.ids.map { .int(Int64($0)) }).text()
        }
        return JSON.object([
            "prompt_ids": .array(completion.prompt.map { .int(Int64($0)) }),
            "completion_ids": .array(completion.ids.map { .int(Int64($0)) }),
            "completion": text.map { .string($0) } ?? .null,
            "logprobs": .array(completion.logprobs.map { .double(Double($0)) }),
            "finish_reason": .string(completion.finishReason.rawValue),
        ]).text()
    }

    // MARK: Prompts

    private func prompts() throws -> [[Int32]] {
        if let text = options.prompt { return [try encode(text, "--prompt")] }
        if let ids = options.promptIDs {
            return [try TokenIDs.read(JSON.parse(ids, name: "--prompt-ids"), "--prompt-ids")]
        }
        guard let path = options.promptsFile else { return [] }
        var prompts: [[Int32]] = []
        for (number, line) in try Files.read(path).split(
            separator: 0x0A, omittingEmptySubsequences: false
        ).enumerated()
        where line.contains(where: { $0 > 0x20 }) {
            let place = "\(path):\(number + 1)"
            let value = try JSON.parse(line: Array(line), place: place)
            if let ids = value["prompt_ids"] {
                prompts.append(try TokenIDs.read(ids, "prompt_ids (\(place))"))
            } else if let text = value.string ?? value["prompt"]?.string {
                prompts.append(try encode(text, place))
            } else {
                throw KeelError(
                    "data", "no prompt in this row", at: place,
                    fix: "a row is a string, {\"prompt\": TEXT} or {\"prompt_ids\": [...]}",
                    code: .badData)
            }
        }
        guard !prompts.isEmpty else {
            throw KeelError(
                "data", "no prompts in the file", at: path,
                fix: "give a file with one JSON value per line", code: .badData)
        }
        return prompts
    }

    private func encode(_ text: String, _ place: String) throws -> [Int32] {
        guard let tokenizer else { preconditionFailure("text prompts without a tokenizer") }
        let ids = try tokenizer.ids(text)
        if !ids.isEmpty { return ids }
        guard let start = tokenizer.bosID ?? model.config.bosID else {
            throw KeelError(
                "generate", "an empty prompt", at: place, fix: "give some text", code: .badData)
        }
        return [start]
    }
}
