/// How long a row may be, and how an answer ends.
package struct LengthLimits: Sendable, Equatable {
    /// Tokens of the prompt and one answer, each answer by itself; longer answers are cut.
    package var maxLength: Int?
    /// Tokens of the prompt; longer ones are cut.
    package var maxPromptLength: Int?
    /// Tokens of an answer; longer ones are cut.
    package var maxCompletionLength: Int?
    /// Every answer ends in EOS before it is cut.
    package var appendEOS: Bool
    /// Longer prompts lose their start and keep BOS and their end; else they lose their end.
    package var keepsPromptEnd = true
    /// Longer answers lose their end; else their start.
    package var keepsAnswerStart = true
    /// Of a prompt with one answer every token is trained, but the first.
    package var trainsPrompt = false

    package init(
        maxLength: Int? = nil, maxPromptLength: Int? = nil, maxCompletionLength: Int? = nil,
        appendEOS: Bool = true
    ) {
        self.maxLength = maxLength
        self.maxPromptLength = maxPromptLength
        self.maxCompletionLength = maxCompletionLength
        self.appendEOS = appendEOS
    }

    /// A text that differs when the limits do, for cache keys.
    var key: String {
        let parts = [maxLength, maxPromptLength, maxCompletionLength].map {
            $0.map(String.init) ?? "-"
        }
        return parts.joined(separator: "/") + (appendEOS ? "/eos" : "/open")
            + "/\(keepsPromptEnd)/\(keepsAnswerStart)/\(trainsPrompt)"
    }
}
