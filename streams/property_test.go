package streams

import _ "pgregory.net/rapid"
