import KeelCore

/// Where a config's keys stand, so that an error found at any time can name the line.
package struct ConfigPlaces: Sendable {
    /// The file, as the user wrote its path.
    private(set) var file = "config"
    private var places: [String: String] = [:]

    package init() {}

    init(file: String, bytes: [UInt8], offsets: [String: Int]) {
        self.file = file
        var starts = [0]
        for (i, byte) in bytes.enumerated() where byte == 0x0A { starts.append(i + 1) }
        for (key, offset) in offsets {
            var low = 0
            var high = starts.count
            while high - low > 1 {
                let middle = (low + high) / 2
                if starts[middle] <= offset { low = middle } else { high = middle }
            }
            places[key] = "\(file):\(low + 1):\(offset - starts[low] + 1)"
        }
    }

    /// `file:line:column, key train.learning_rate`; for a key that is not in the file, of what holds it.
    package func place(of key: String) -> String {
        var path = key
        while true {
            if let place = places[path] { return "\(place), key \(ConfigPlaces.shown(key))" }
            guard let dot = path.lastIndex(of: ".") else { break }
            path = String(path[..<dot])
        }
        return key.isEmpty ? file : "\(file), key \(ConfigPlaces.shown(key))"
    }

    /// `rewards.0.plugin` as people write it: `rewards[0].plugin`.
    package static func shown(_ key: String) -> String {
        var text = ""
        for part in key.split(separator: ".") {
            if Int(part) != nil, !text.isEmpty {
                text += "[\(part)]"
            } else {
                text += text.isEmpty ? String(part) : "." + part
            }
        }
        return text
    }

    /// Notes that a key came from the command line.
    mutating func override(_ key: String, by argument: String) {
        places[key] = "--set \(argument)"
    }

    /// Lets a key, and what is below it, be found under another name.
    mutating func rename(_ old: String, to new: String) {
        for (key, place) in places where key == old || key.hasPrefix(old + ".") {
            places[new + key.dropFirst(old.count)] = place
        }
    }
}
