import KeelCore

/// The tokens with a role, as tokenizer_config.json names them.
package struct SpecialTokens: Sendable, Equatable {
    package var bos: Int32?
    package var eos: Int32?
    package var pad: Int32?
    package var unk: Int32?

    /// Reads tokenizer_config.json, then special_tokens_map.json for what is missing there; neither
    /// has to exist.
    ///
    /// - Parameter id: the id of a token, nil when it is not one.
    /// - Throws: `KeelError` (badData) for a role that names an unknown token.
    static func read(_ directory: String, id: (String) -> Int32?) throws -> SpecialTokens {
        var found = SpecialTokens()
        for name in ["tokenizer_config.json", "special_tokens_map.json"] {
            let path = Files.join(directory, name)
            guard Files.exists(path) else { continue }
            let file = Part(try JSON.parse(try Files.read(path), name: path), file: path, path: "")
            func role(_ key: String, _ known: Int32?) throws -> Int32? {
                if let known { return known }
                let part = file[key]
                guard let token = part.json.string ?? part.json["content"]?.string else {
                    return nil
                }
                guard let id = id(token) else {
                    throw part.error("\(key) \"\(token)\" is not a token of tokenizer.json")
                }
                return id
            }
            found.bos = try role("bos_token", found.bos)
            found.eos = try role("eos_token", found.eos)
            found.pad = try role("pad_token", found.pad)
            found.unk = try role("unk_token", found.unk)
        }
        return found
    }
}
